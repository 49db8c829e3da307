"""What an engine is made of: models, devices, mode and limits, checked before anything is loaded.

Names are those of vLLM and transformers where they have one. An unknown or contradictory key is an
`InputError` that names it.
"""

import os
from difflib import get_close_matches
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from amusd.devices import parse_device
from amusd.errors import InputError
from amusd.params import RuleName

Mode = Literal["async", "sync", "alone", "amusd", "pearl"]
VerifyName = Literal["chain", "rows", "tree"]
PolicyName = Literal["goodput", "fixed", "table"]
LauncherName = Literal["ray", "local", "inprocess", "attached"]
ExactIn = Literal["bytes", "distribution"]
DTypeName = Literal["auto", "bfloat16", "float32"]

EMBEDDED_MODEL = "demo"
NO_DRAFT = "none"
RANDOM_DRAFT = "random"
PROMPT_LOOKUP, NGRAM, PHRASES = "prompt-lookup", "ngram", "phrases"
RULES_WITH_Q: Final = frozenset({"rejection", "rrs", "rrsw", "kseq", "spechub"})
"""Rules for which the target needs the law that siblings were drawn from; they keep its distribution only."""

SPECULATIVE_TOKENS_MAX: Final = 64
REQUESTS_MAX: Final = 256
PREFILL_STALL_MS_MAX: Final = 60_000.0

_DEVICES = "give a device such as cpu:0, cpu:2-5 or cuda:0,cuda:1"
_REVISION = "give a branch, tag or commit on the hub"
_REMEDIES: Final = {
    "target": "give a Hugging Face id, a path, or demo",
    "draft": "give a Hugging Face id, a path, demo, demo-small, demo-large, prompt-lookup, ngram, "
    "ngram:FILE, a list of these, or none to decode alone",
    "target_devices": _DEVICES,
    "draft_devices": _DEVICES,
    "launcher": f"give one of {', '.join(get_args(LauncherName))}",
    "mode": f"give one of {', '.join(get_args(Mode))}",
    "verify": f"give one of {', '.join(get_args(VerifyName))}",
    "policy": f"give one of {', '.join(get_args(PolicyName))}",
    "policy_table": "give a file that amusd bench --load --profile wrote",
    "rule": f"give one of {', '.join(get_args(RuleName))}",
    "num_speculative_tokens": f"give a whole number from 1 to {SPECULATIVE_TOKENS_MAX}",
    "dtype": f"give one of {', '.join(get_args(DTypeName))}",
    "max_model_len": "give a whole number of 2 or more, or leave it out",
    "max_requests": f"give a whole number from 1 to {REQUESTS_MAX}",
    "kv_cache_memory_bytes": "give a whole number of 1 or more, or leave it out",
    "prefill_stall_ms": f"give a number from 1 to {PREFILL_STALL_MS_MAX:.0f}",
    "widen": "give a whole number of 1 or more, or 0 to turn it off",
    "revision": _REVISION,
    "draft_revision": _REVISION,
    "trust_remote_code": "give true or false",
    "quantization_config": "give a mapping, as transformers takes it",
    "ray_address": "give host:port, or auto",
    "target_address": "give the host:port that the target worker listens on",
    "draft_address": "give the host:port that the draft worker listens on, several with commas between",
    "share_gpu": "give true or false",
    "debug": "give true or false",
}

IN_DISTRIBUTION: Final = (
    "the target's distribution, not its bytes: at a fixed seed too, timing changes the text"
)

Text = Annotated[str, Field(pattern=r"\S")]
"""With something in it that can be seen."""


class EngineConfig(BaseModel):
    """Everything that is fixed while an engine lives.

    Args:
        target: Hugging Face id or path of the model whose text is wanted; `demo` is the embedded one.
        draft: id or path of the model that guesses (`demo`, `demo-small`, `demo-large` are embedded);
            `"none"` or None decodes with the target alone, `"random"` guesses blindly, which shows that a
            useless draft costs nothing. `"prompt-lookup"`, `"ngram"` and `"ngram:FILE"` (which begins with a
            text file) need no model and no device; `"phrases"` lengthens what the models guess. Several, as
            a list, guess together; a model that is named twice is two workers, which share the requests. Only
            the embedded target has a draft by default.
        target_devices: `cuda:0`, `cuda:0,cuda:1` (layers split over both), `cpu:0`, `cpu:2-5`; None
            chooses from what there is.
        draft_devices: the same for the draft; a list, one for each, where several models draft.
        launcher: what the workers are: `ray` actors, `local` processes, local processes with the target
            `inprocess`, in the caller's own, for logits processors in Python, or `attached`: processes that
            somebody else started (`amusd worker`).
        mode: `async` (both compute at the same time), `sync` (in turns), `alone` (the target only); to
            compare with: `amusd` (the paper's chain with rollback), `pearl` (pre- and post-verify).
        verify: what a pass verifies: the likeliest `chain` while branches wait at the target's side; several
            branches as `rows` of their own; or the likeliest `tree`, which is exact up to rounding only.
        policy: how many of these nodes a pass of `async` takes: as many as give the most tokens per second
            (`goodput`); all that there are, up to `num_speculative_tokens` (`fixed`); or as many as a table
            says for so many requests (`table`). The last two are to compare with.
        policy_table: file of that table, as `amusd bench --load --profile` writes it.
        rule: how siblings are drawn and accepted (docs/rules.md). `race` and `topk` write the target's own
            bytes; `rejection`, `rrs`, `rrsw`, `kseq` and `spechub` keep its distribution only, and take one
            draft, a model.
        num_speculative_tokens: longest chain of drafted tokens that one pass verifies.
        dtype: of weights and activations; `auto` is what the model was saved in.
        max_model_len: longest prompt and output together, in tokens; None is the model's own maximum
            or 2048, whichever is less.
        max_requests: requests decoded at the same time.
        kv_cache_memory_bytes: most memory of the target's KV cells. When they run out, the request that came
            last (of those with the lowest priority) is set aside and goes on later, with the same text. None:
            what `max_requests` of full length take, or, if that is more than fits, as much as fits.
        prefill_stall_ms: how long parts of new prompts may keep the requests that are decoded waiting.
        widen: neurons per FFN of the widened target, which costs more and writes the same text; 0 is off.
        revision: of the target on the hub: branch, tag or commit.
        draft_revision: the same of the draft.
        trust_remote_code: run Python code that comes with a model.
        quantization_config: passed to transformers as it is.
        target_address: host:port of the target worker; attached launcher only.
        draft_address: the same of the draft worker; of several with commas between.
        share_gpu: let target and draft be two processes on one GPU, where there is but one; both get slower.
            Local launcher only.
        ray_address: of an existing Ray cluster to join; None starts one, unless RAY_ADDRESS says so.
        debug: forward what workers write to their standard error.

    Raises:
        InputError: a value is not allowed, two contradict each other, or a name is unknown.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    target: Text = EMBEDDED_MODEL
    draft: Text | tuple[Text, ...] | None = EMBEDDED_MODEL
    target_devices: str | None = None
    draft_devices: str | tuple[str, ...] | None = None
    launcher: LauncherName = "ray"
    mode: Mode = "async"
    verify: VerifyName = "chain"
    policy: PolicyName = "goodput"
    policy_table: Text | None = None
    rule: RuleName = "race"
    num_speculative_tokens: int = Field(7, ge=1, le=SPECULATIVE_TOKENS_MAX)
    dtype: DTypeName = "auto"
    max_model_len: int | None = Field(None, ge=2)
    max_requests: int = Field(8, ge=1, le=REQUESTS_MAX)
    kv_cache_memory_bytes: int | None = Field(None, ge=1)
    prefill_stall_ms: float = Field(200.0, ge=1.0, le=PREFILL_STALL_MS_MAX)
    widen: int = Field(0, ge=0)
    revision: Text | None = None
    draft_revision: Text | None = None
    trust_remote_code: bool = False
    quantization_config: dict[str, Any] | None = None
    ray_address: Text | None = None
    target_address: Text | None = None
    draft_address: Text | None = None
    share_gpu: bool = False
    debug: bool = False

    _remarks: tuple[str, ...] = PrivateAttr(())

    def __init__(self, **values: Any) -> None:
        values = {name: _text(value) for name, value in values.items()}
        values |= {name: _unlisted(values[name]) for name in ("draft", "draft_devices") if name in values}
        try:
            super().__init__(**values)  # as given: what mode alone drops is checked too
        except ValidationError as error:
            raise _input_error(error) from None
        for field, text in (
            ("target_devices", self.target_devices),
            *(("draft_devices", text) for text in _each(self.draft_devices)),
        ):
            if text is not None:
                parse_device(text, field)
        if self.launcher != "ray" and self.ray_address is not None:
            raise InputError(
                "ray_address", self.ray_address, "only the ray launcher joins a cluster; drop it"
            )
        if self.launcher != "local" and self.share_gpu:
            raise InputError("share_gpu", True, "only the local launcher shares a GPU; add launcher local")
        settled, remarks = _settle_draft_and_mode(values)
        super().__init__(**settled)
        self._check_addresses()
        if self.policy != "goodput" and self.mode != "async":
            raise InputError("policy", self.policy, f"mode {self.mode} has its own; drop it, or use async")
        if (self.policy == "table") != (self.policy_table is not None):
            remedy = f"policy {self.policy} "
            remedy += (
                f"needs it: {_REMEDIES['policy_table']}" if self.policy == "table" else "reads none; drop it"
            )
            raise InputError("policy_table", self.policy_table or "(not given)", remedy)
        self._remarks = remarks + self._check_rule() + self._remark_phrases()

    def _check_addresses(self) -> None:
        """Attached workers have addresses, and were told their devices; others are the other way round."""
        attached = self.launcher == "attached"
        needed = ("target_address", "draft_address") if self.model_drafts else ("target_address",)
        for field in ("target_address", "draft_address"):
            address = getattr(self, field)
            if attached and address is None and field in needed:
                raise InputError(field, "(not given)", f"the attached launcher needs it: {_REMEDIES[field]}")
            if address is not None and not attached:
                raise InputError(field, address, "only the attached launcher takes it; add launcher attached")
        for field in ("target_devices", "draft_devices"):
            if attached and getattr(self, field) is not None:
                remedy = "an attached worker was told its device when it was started; drop it"
                raise InputError(field, getattr(self, field), remedy)

    def _check_rule(self) -> tuple[str, ...]:
        """What has to be said of the rule; raises InputError where the draft cannot follow it."""
        if self.draft is None or self.rule not in RULES_WITH_Q:
            return ()
        if self.lookups or len(self.drafts) > 1:
            remedy = f"it takes one draft model and no other draft, not {', '.join(self.drafts)}"
            raise InputError("rule", self.rule, f"{remedy}; name one model, or take race or topk")
        if self.draft == RANDOM_DRAFT:
            remedy = f"{RANDOM_DRAFT} has no law to draw from; name a draft model, or take race or topk"
            raise InputError("rule", self.rule, remedy)
        return (f"rule {self.rule}: {IN_DISTRIBUTION}",)

    def _remark_phrases(self) -> tuple[str, ...]:
        """Phrases go after the last node of a chain, and only one way to verify has that."""
        if PHRASES not in self.drafts or self.verify == "chain":
            return ()
        idle = f"verify {self.verify}: the draft {PHRASES} is idle, for it lengthens chains only"
        return (f"{idle}; take verify chain, or leave {PHRASES} out",)

    @property
    def rule_in_use(self) -> RuleName | None:
        """The rule by which drafts are accepted; None where there are none."""
        return None if self.draft is None else self.rule

    @property
    def drafts(self) -> tuple[str, ...]:
        """Every draft by its name; none for the target alone."""
        return _each(self.draft)

    @property
    def model_drafts(self) -> tuple[str, ...]:
        """Those that have a worker and a device of their own."""
        return tuple(draft for draft in self.drafts if not is_lookup(draft))

    @property
    def lookups(self) -> tuple[str, ...]:
        """Those that need no model, and live at the target's side."""
        return tuple(draft for draft in self.drafts if is_lookup(draft))

    @property
    def remarks(self) -> tuple[str, ...]:
        """What was settled for the caller, one sentence each."""
        return self._remarks


def exact_in(rule: str | None) -> ExactIn:
    """What a rule keeps of the target alone: its bytes, or only the distribution of its text.

    Args:
        rule: None: there are no drafts to accept.
    """
    return "distribution" if rule in RULES_WITH_Q else "bytes"


def is_lookup(draft: str) -> bool:
    """Whether a draft needs no model."""
    return draft in (PROMPT_LOOKUP, NGRAM, PHRASES) or corpus_of(draft) is not None


def corpus_of(draft: str) -> str | None:
    """The file that `ngram:FILE` names; None for any other draft."""
    kind, colon, file = draft.partition(":")
    return file if kind == NGRAM and colon else None


def _each(value: str | tuple[str, ...] | None) -> tuple[str, ...]:
    return () if value is None else (value,) if isinstance(value, str) else value


def _text(value: Any) -> Any:
    """A path as text, anything else as it is."""
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _unlisted(value: Any) -> Any:
    """A list as a tuple, or as what is in it if that is one value."""
    if isinstance(value, list | tuple):
        return _text(value[0]) if len(value) == 1 else tuple(map(_text, value))
    return value


def _settle_drafts(values: dict[str, Any]) -> dict[str, Any]:
    """Check drafts and their devices against each other.

    Args:
        values: each valid by itself.
    """
    drafts, devices = _each(values.get("draft", EMBEDDED_MODEL)), _each(values.get("draft_devices"))
    for draft in drafts:
        if draft == NO_DRAFT and len(drafts) > 1:
            raise InputError("draft", draft, "it means the target alone; leave it out beside other drafts")
        if (
            is_lookup(draft)
            and sum(draft.partition(":")[0] == other.partition(":")[0] for other in drafts) > 1
        ):
            raise InputError("draft", draft, "there can be one of its kind; name it once")
        if corpus_of(draft) == "":
            raise InputError("draft", draft, "name a text file after the colon, or leave the colon out")
    models = [draft for draft in drafts if draft != NO_DRAFT and not is_lookup(draft)]
    if PHRASES in drafts and not models:
        raise InputError("draft", PHRASES, "it lengthens what a model drafts; name one beside it")
    if len(devices) > 1 and len(devices) != len(models):
        remedy = f"{len(devices)} devices for {len(models)} draft models; give one for each, or none"
        raise InputError("draft_devices", ", ".join(devices), remedy)
    if not models and "draft_devices" in values:
        return values | {"draft_devices": None}  # nobody is there to use them
    return values


def _settle_draft_and_mode(values: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Make draft and mode agree, so that afterwards `draft is None` exactly when the mode is `alone`.

    Args:
        values: each valid by itself.
    """
    values = _settle_drafts(values)
    target, mode = values.get("target", EMBEDDED_MODEL), values.get("mode")
    if values.get("draft", EMBEDDED_MODEL) in (None, NO_DRAFT, ()):
        if mode not in (None, "alone"):
            raise InputError("mode", mode, "needs a draft; name one, or use mode alone")
        remarks = () if mode else ("no draft: the target decodes alone (mode alone)",)
        return {"mode": "alone", **values, "draft": None, "draft_devices": None}, remarks
    if mode == "alone":
        remarks = ("mode alone: the draft is not loaded",) if "draft" in values else ()
        return {**values, "draft": None, "draft_devices": None}, remarks
    if "draft" not in values and target != EMBEDDED_MODEL:
        remedy = f"name a small model with the tokenizer of {target}, or none to decode with the target alone"
        raise InputError("draft", "(not given)", remedy)
    return values, ()


def _input_error(error: ValidationError) -> InputError:
    """The first problem that pydantic found, in the project's own form."""
    problem = error.errors(include_url=False)[0]
    field = str(problem["loc"][0])
    if problem["type"] == "extra_forbidden":
        known = list(EngineConfig.model_fields)
        near = get_close_matches(field, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(known)}"
        return InputError(field, problem["input"], f"there is no such option; {hint}")
    return InputError(field, problem["input"], _REMEDIES[field])
