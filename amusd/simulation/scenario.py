"""What is simulated: a YAML or JSON file, checked strictly.

An unknown key, a missing one or a value that cannot be is an `InputError` that names it by its path, such as
`drafters.acceptance.rate`; the same paths are what `with_value` and the command line's options take.
"""

from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from amusd.config import SPECULATIVE_TOKENS_MAX, Mode, VerifyName
from amusd.errors import InputError
from amusd.simulation.curves import CostCurve, Text
from amusd.simulation.law import Acceptance, Share

DRAFTERS_MAX = 8  # as many as a target lets attach (amusd.speculation.attachment.Limits)
_CURVES = (("target", "curve"), ("drafters", "curve"))


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Target(_Strict):
    """The target's side.

    Attributes:
        curve: milliseconds of a pass by its rows, the root's included.
        prefill_ms: of one prompt.
        overhead_ms: of the host before each pass, in which the device rests.
    """

    curve: CostCurve
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
    """

    count: int = Field(1, ge=1, le=DRAFTERS_MAX)
    curve: CostCurve
    cost_ratio: float | None = Field(None, gt=0)
    prefill_ms: float = Field(0.0, ge=0)
    overhead_ms: float = Field(0.0, ge=0)
    acceptance: Acceptance
    agreement: Share = 1.0


class Network(_Strict):
    """The streams between the target and each drafter.

    Attributes:
        latency_ms: one way.
        bandwidth_mbit: megabits per second of one direction; None is more than anybody notices.
    """

    source: Text
    latency_ms: float = Field(ge=0)
    bandwidth_mbit: float | None = Field(None, gt=0)


class Scenario(_Strict):
    """Everything that a run is a function of.

    Attributes:
        mode, verify: as in `EngineConfig`; so is `num_speculative_tokens`, K.
        seed: of the text and of all guesses.
        requests: opened at the same time.
        prompt_tokens, output_tokens: of each request.
    """

    name: Text
    description: Text
    mode: Mode = "async"
    verify: VerifyName = "chain"
    num_speculative_tokens: int = Field(7, ge=1, le=SPECULATIVE_TOKENS_MAX)
    seed: int = Field(0, ge=0, lt=2**62)
    requests: int = Field(1, ge=1, le=256)
    prompt_tokens: int = Field(128, ge=1)
    output_tokens: int = Field(400, ge=2)
    target: Target
    drafters: Drafters
    network: Network

    @property
    def draft_curve(self) -> CostCurve:
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
        values = self.model_dump()
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
        name: of a shipped one, or a path to a YAML or JSON file. Where a curve is wanted, a file may name
            another one that holds it, relative to itself.

    Raises:
        InputError: there is no such scenario, or something in it cannot be.
    """
    if name in shipped_scenarios():
        text = (resources.files("amusd.simulation") / "scenarios" / f"{name}.yaml").read_text("utf-8")
        return _validate(_parse(text, "--scenario", name))
    path = Path(name)
    values = _read(path, "--scenario")
    for side, field in _CURVES:
        inner = values.get(side)
        if isinstance(inner, dict) and isinstance(inner.get(field), str):
            inner[field] = _read(path.parent / inner[field], f"{side}.{field}")
    return _validate(values)


def parse_value(text: str) -> Any:
    """A value as YAML would read it."""
    return yaml.safe_load(text)


def _read(path: Path, field: str) -> dict[str, Any]:
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
        path = ".".join(str(part) for part in problem["loc"])
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
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            found += _paths(inner, f"{prefix}{name}.")
        else:
            found.append(f"{prefix}{name}")
    return found
