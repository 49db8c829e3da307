"""What an engine is made of: models, devices, mode and limits, checked before anything is loaded.

Names are those of vLLM and transformers where they have one. An unknown or contradictory key is an
`InputError` that names it.
"""

from difflib import get_close_matches
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from amusd.devices import parse_device
from amusd.errors import InputError

Mode = Literal["async", "sync", "alone"]
LauncherName = Literal["ray", "local"]
DTypeName = Literal["auto", "bfloat16", "float32"]

EMBEDDED_MODEL = "demo"
NO_DRAFT = "none"
MODEL_LENGTH_MAX_DEFAULT = 2048  # tokens


class EngineConfig(BaseModel):
    """Everything that is fixed while an engine lives.

    Args:
        target: Hugging Face id or path of the model whose text is wanted; `demo` is the embedded one.
        draft: id or path of the model that guesses (`demo`, `demo-small`, `demo-large` are embedded);
            `"none"` or None decodes with the target alone. Only the embedded target has a draft by
            default.
        target_devices: `cuda:0`, `cuda:0,cuda:1` (layers split over both), `cpu:0`, `cpu:2-5`; None
            chooses from what there is.
        draft_devices: the same for the draft.
        launcher: what starts the workers, Ray actors or local processes.
        mode: `async` (both compute at the same time), `sync` (in turns), `alone` (the target only).
        num_speculative_tokens: longest chain of drafted tokens that one pass verifies.
        dtype: of weights and activations; `auto` is what the model was saved in.
        max_model_len: longest prompt and output together, in tokens; None is the model's own maximum
            or 2048, whichever is less.
        max_requests: requests decoded at the same time.
        widen: neurons per FFN of the widened target, which costs more and writes the same text; 0 is off.
        revision: of the target on the hub: branch, tag or commit.
        draft_revision: the same of the draft.
        trust_remote_code: run Python code that comes with a model.
        quantization_config: passed to transformers as it is.
        ray_address: of an existing Ray cluster to join; None starts one, unless RAY_ADDRESS says so.
        debug: forward what workers write to their standard error.

    Raises:
        InputError: a value is not allowed, two contradict each other, or a name is unknown.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    target: str = Field(EMBEDDED_MODEL, min_length=1)
    draft: str | None = Field(EMBEDDED_MODEL, min_length=1)
    target_devices: str | None = None
    draft_devices: str | None = None
    launcher: LauncherName = "ray"
    mode: Mode = "async"
    num_speculative_tokens: int = Field(7, ge=1, le=64)
    dtype: DTypeName = "auto"
    max_model_len: int | None = Field(None, ge=2)
    max_requests: int = Field(8, ge=1, le=256)
    widen: int = Field(0, ge=0)
    revision: str | None = None
    draft_revision: str | None = None
    trust_remote_code: bool = False
    quantization_config: dict[str, Any] | None = None
    ray_address: str | None = None
    debug: bool = False

    _remarks: tuple[str, ...] = PrivateAttr(())

    def __init__(self, **values: Any) -> None:
        settled, remarks = _settle_draft_and_mode(values)
        try:
            super().__init__(**settled)
        except ValidationError as error:
            raise _input_error(error) from None
        self._remarks = remarks
        for field, text in (("target_devices", self.target_devices), ("draft_devices", self.draft_devices)):
            if text is not None:
                parse_device(text, field)
        if self.launcher != "ray" and self.ray_address is not None:
            raise InputError(
                "ray_address", self.ray_address, "only the ray launcher joins a cluster; drop it"
            )

    @property
    def remarks(self) -> tuple[str, ...]:
        """What was settled for the caller, one sentence each."""
        return self._remarks


def _settle_draft_and_mode(values: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Make draft and mode agree, so that afterwards `draft is None` exactly when the mode is `alone`."""
    target, mode = values.get("target", EMBEDDED_MODEL), values.get("mode")
    if values.get("draft", EMBEDDED_MODEL) in (None, NO_DRAFT):
        if mode in ("async", "sync"):
            raise InputError("mode", mode, "needs a draft; name one, or use mode alone")
        remarks = () if mode else ("no draft: the target decodes alone (mode alone)",)
        return {"mode": "alone", **values, "draft": None, "draft_devices": None}, remarks
    if mode == "alone":
        remarks = ("mode alone: the draft is not loaded",) if "draft" in values else ()
        return {**values, "draft": None, "draft_devices": None}, remarks
    if "draft" not in values and isinstance(target, str) and target not in ("", EMBEDDED_MODEL):
        remedy = f"name a small model with the tokenizer of {target}, or none to decode with the target alone"
        raise InputError("draft", "(not given)", remedy)
    return values, ()


def _input_error(error: ValidationError) -> InputError:
    """The first problem that pydantic found, in the project's own form."""
    problem = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = list(EngineConfig.model_fields)
        near = get_close_matches(field, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(known)}"
        return InputError(field, problem["input"], f"there is no such option; {hint}")
    text = problem["msg"].removeprefix("Input ").removeprefix("should ")
    return InputError(field, problem["input"], f"should {text}")
