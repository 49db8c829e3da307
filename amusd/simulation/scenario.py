"""What is simulated: a YAML or JSON file, checked strictly.

An unknown key, a missing one or a value that cannot be is an `InputError` that names it by its path, such as
`drafters.acceptance.rate`; the same paths are what `with_value` and the command line's options take.
"""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from amusd.config import SPECULATIVE_TOKENS_MAX, Mode, VerifyName
from amusd.errors import InputError
from amusd.simulation.arrivals import Arrivals
from amusd.simulation.curves import CostCurve, Text
from amusd.simulation.law import Acceptance, Share
from amusd.simulation.roofline import Roofline

DRAFTERS_MAX = 8  # as many as a target lets attach (amusd.speculation.attachment.Limits)
REQUESTS_MAX = 256
_CURVES = (("target", "curve"), ("drafters", "curve"))
_POINTS, _ROOFLINE = "<points>", "<roofline>"  # which of the two forms a curve has; no part of a key's path


def _form(value: Any) -> str:
    names = value if isinstance(value, dict) else type(value).model_fields
    return _ROOFLINE if "weights_g" in names else _POINTS


Curve = Annotated[
    Annotated[CostCurve, Tag(_POINTS)] | Annotated[Roofline, Tag(_ROOFLINE)], Discriminator(_form)
]
"""Milliseconds of a forward: measured points, or figures of the device and the model."""

Requests = Annotated[int, Field(ge=1, le=REQUESTS_MAX)]
Positive = Annotated[float, Field(gt=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Target(_Strict):
    """The target's side.

    Attributes:
        curve: milliseconds of a pass by its rows, the root's included.
        prefill_ms: of one prompt.
        overhead_ms: of the host before each pass, in which the device rests.
    """

    curve: Curve
    prefill_ms: float = Field(0.0, ge=0)
    overhead_ms: float = Field(0.0, ge=0)


class Drafters(_Strict):
    """The drafters, all alike.

    Attributes:
        count: how many there are; mode alone uses none of them.
        curve: milliseconds of a step by the nodes that it expands.
        cost_ratio: c, a one-node step over a one-row pass; scales the curve. None leaves it as it is.
        acceptance: the law of their guesses.
        agreement: chance that two of them guess alike at a place; 1 for copies of one model.
        rows_max: nodes that a step of `async` expands, over all requests; None: as many as the policy says.
    """

    count: int = Field(1, ge=1, le=DRAFTERS_MAX)
    curve: Curve
    cost_ratio: float | None = Field(None, gt=0)
    prefill_ms: float = Field(0.0, ge=0)
    overhead_ms: float = Field(0.0, ge=0)
    acceptance: Acceptance
    agreement: Share = 1.0
    rows_max: int | None = Field(None, ge=1)


class Network(_Strict):
    """The streams between the target and each drafter.

    Attributes:
        latency_ms: one way.
        bandwidth_mbit: megabits per second of one direction; None is more than anybody notices.
    """

    source: Text
    latency_ms: float = Field(ge=0)
    bandwidth_mbit: float | None = Field(None, gt=0)


class Load(_Strict):
    """What `amusd simulate --load` offers.

    Attributes:
        ways: of drafting a fixed number of tokens: in turns, or `async` with the policy `fixed`.
        ks: these numbers.
        batches: of so many requests that are decoded all the time.
        batch_tokens: that each request of a batch writes while it is measured.
        tokens_min: that all of them write together at least.
        loads: of requests that arrive by themselves: how many, over what the target alone bears.
        arrivals: as in `amusd bench --load`.
        requests: that arrive in a run at the highest load.
        output_tokens: of each of these: from half of it to the whole.
        max_requests: decoded at a time; further ones wait.
        prefill_elsewhere: other devices prefill their prompts and hand the cells over; else the target does
            it between passes. In a batch all prompts are there from the beginning.
    """

    ways: list[Literal["sync", "fixed"]] = Field(["sync"], min_length=1)
    ks: list[Annotated[int, Field(ge=1, le=SPECULATIVE_TOKENS_MAX)]] = Field([1, 3, 5, 7], min_length=1)
    batches: list[Requests] = Field([1, 2, 4, 8, 16, 32, 64, 128, 256], min_length=1)
    batch_tokens: Annotated[int, Field(ge=1)] = 12
    tokens_min: Annotated[int, Field(ge=2)] = 1200
    loads: list[Positive] = Field([0.1, 0.3, 0.6, 0.9, 1.2], min_length=1)
    arrivals: Arrivals = "poisson"
    requests: Annotated[int, Field(ge=2)] = 320
    output_tokens: Annotated[int, Field(ge=2)] = 48
    max_requests: Requests = 128
    prefill_elsewhere: bool = False


class Scenario(_Strict):
    """Everything that a run is a function of.

    Attributes:
        mode, policy, verify: as in `EngineConfig`; so is `num_speculative_tokens`, K.
        policy_table: drafted tokens by the number of requests, for the policy `table`.
        seed: of the text and of all guesses.
        requests: opened at the same time.
        prompt_tokens, output_tokens: of each request.
        load: for `--load`, which takes mode, policy and its table, K, requests and lengths from there.
    """

    name: Text
    description: Text
    mode: Mode = "async"
    policy: Literal["goodput", "fixed", "table"] = "goodput"
    policy_table: dict[Requests, Annotated[int, Field(ge=0, le=SPECULATIVE_TOKENS_MAX)]] | None = Field(
        None, min_length=1, validate_default=True
    )
    verify: VerifyName = "chain"
    num_speculative_tokens: int = Field(7, ge=1, le=SPECULATIVE_TOKENS_MAX)
    seed: int = Field(0, ge=0, lt=2**62)
    requests: Requests = 1
    prompt_tokens: int = Field(128, ge=1)
    output_tokens: int = Field(400, ge=2)
    target: Target
    drafters: Drafters
    network: Network
    load: Load = Field(default_factory=lambda: Load.model_validate({}))

    @field_validator("policy_table", mode="before")
    @classmethod
    def _counted(cls, given: Any) -> Any:
        """JSON has numbers of requests as text."""
        if not isinstance(given, dict):
            return given
        return {int(key) if str(key).isdecimal() else key: k for key, k in given.items()}

    @field_validator("policy_table")
    @classmethod
    def _is_there(cls, given: dict[int, int] | None, info: ValidationInfo) -> dict[int, int] | None:
        """The policy is declared, and so checked, before its table."""
        if given is None and info.data.get("policy") == "table":
            raise PydanticCustomError("missing", "the policy table needs one")
        return given

    @property
    def draft_curve(self) -> Curve:
        """The drafters' curve, scaled to the cost ratio if one is given."""
        curve, ratio = self.drafters.curve, self.drafters.cost_ratio
        return curve if ratio is None else curve.scaled(ratio * self.target.curve.ms(1) / curve.ms(1))

    def with_value(self, path: str, value: Any) -> "Scenario":
        """The scenario with one value changed.

        Args:
            path: names joined by dots, such as `network.latency_ms`.

        Raises:
            InputError: there is no such value, or it cannot be this one.
        """
        return self.with_values({path: value})

    def with_values(self, changes: Mapping[str, Any]) -> "Scenario":
        """The scenario with some values changed, each as by `with_value`."""
        values = self.model_dump()
        for path, value in changes.items():
            place = values
            *parents, last = path.split(".")
            for name in parents:
                inner = place.get(name)
                if not isinstance(inner, dict):
                    raise _unknown(Scenario, path, value)
                place = inner
            if last not in place:
                raise _unknown(Scenario, path, value)
            place[last] = value
        return _validate(values)


def shipped_scenarios() -> list[str]:
    """Names of the scenarios that come with the package."""
    folder = resources.files("amusd.simulation") / "scenarios"
    return sorted(file.name.removesuffix(".yaml") for file in folder.iterdir() if file.name.endswith(".yaml"))


def load_scenario(name: str) -> Scenario:
    """Read a scenario.

    Args:
        name: of a shipped one, or a path to a YAML or JSON file. Where a curve is wanted, it may name
            another file that holds it, relative to itself.

    Raises:
        InputError: there is no such scenario, or something in it cannot be.
    """
    folder: Path | Traversable
    if name in shipped_scenarios():
        folder, file = resources.files("amusd.simulation") / "scenarios", f"{name}.yaml"
    else:
        folder, file = Path(name).parent, Path(name).name
    values = _read(folder / file, "--scenario")
    for side, field in _CURVES:
        inner = values.get(side)
        if isinstance(inner, dict) and isinstance(inner.get(field), str):
            inner[field] = _read(folder / inner[field], f"{side}.{field}")
    return _validate(values)


def parse_value(text: str) -> Any:
    """A value as YAML would read it."""
    return yaml.safe_load(text)


def _read(path: Path | Traversable, field: str) -> dict[str, Any]:
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        known = ", ".join(shipped_scenarios())
        remedy = f"cannot be read ({error}); give a YAML or JSON file, or one of {known}"
        raise InputError(field, str(path), remedy) from None
    return _parse(text, field, str(path))


def _parse(text: str, field: str, name: str) -> dict[str, Any]:
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(field, name, f"is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise InputError(field, name, "holds no mapping; see docs/simulation.md for its keys")
    return values


def _validate(values: dict[str, Any]) -> Scenario:
    try:
        return Scenario(**values)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        path = ".".join(str(part) for part in problem["loc"] if part not in (_POINTS, _ROOFLINE))
        if problem["type"] == "extra_forbidden":
            raise _unknown(Scenario, path, problem["input"]) from None
        if problem["type"] == "missing":
            raise InputError(
                path, "(not given)", "a scenario must say this; see docs/simulation.md"
            ) from None
        raise InputError(path, problem["input"], problem["msg"]) from None


def _unknown(model: type[BaseModel], path: str, value: Any) -> InputError:
    """The error for a key that does not exist, with the nearest one that does."""
    known = _paths(model)
    by_last_name = {place.rpartition(".")[2]: place for place in known}
    near = get_close_matches(path, known, n=1)
    near = near or get_close_matches(path.rpartition(".")[2], by_last_name, n=1)
    meant = by_last_name.get(near[0], near[0]) if near else None
    hint = f"did you mean {meant}?" if meant else f"choose from {', '.join(known)}"
    return InputError(path, value, f"there is no such key in a scenario; {hint}")


def _paths(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Every key of a model, by its path."""
    found = []
    for name, field in model.model_fields.items():
        inner = [*_models(field.annotation)]
        for each in inner:
            found += [path for path in _paths(each, f"{prefix}{name}.") if path not in found]
        if not inner:
            found.append(f"{prefix}{name}")
    return found


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that an annotation names by themselves, not in a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (Annotated, Union, UnionType):
        for inner in get_args(annotation):
            yield from _models(inner)
