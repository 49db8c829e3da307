"""What every benchmark is told: a pair of models and where they run, prompts, and where results go."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from amusd.config import EMBEDDED_MODEL, SPECULATIVE_TOKENS_MAX
from amusd.devices import DeviceSpec, available, check_devices, default_devices, parse_device
from amusd.errors import InputError
from amusd.params import SamplingParams

DEFAULTS: Final[dict[str, Any]] = {
    "target": EMBEDDED_MODEL,
    "dtype": "auto",
    "widen": 12288,
    "temperatures": (0.0, 1.0),
    "prompts_file": None,
    "seed": 20260,
    "out": Path("bench-results"),
}
_COUNTS: Final = ("num_prompts", "max_tokens", "repeats")


@dataclass(frozen=True, slots=True, kw_only=True)
class CommonSettings:
    """The settings that all benchmarks have.

    Args:
        target, dtype, widen: as `EngineConfig` takes them.
        temperatures: at least one.
        prompts_file: JSON Lines, None for the embedded prompts.
        num_prompts: measured ones.
        max_tokens: of the longest output.
        repeats: how often each contender is measured.
        contenders: names.
        ks: the fixed numbers of drafted tokens that are tried.
        seed: of the order.
        out: folder of the results.
        target_devices, draft_devices: where the models run; one GPU may be named for both.

    Raises:
        InputError: naming the option.
    """

    target: str
    dtype: str
    widen: int
    temperatures: tuple[float, ...]
    prompts_file: Path | None
    num_prompts: int
    max_tokens: int
    repeats: int
    contenders: tuple[str, ...]
    ks: tuple[int, ...]
    seed: int
    out: Path
    target_devices: DeviceSpec
    draft_devices: DeviceSpec

    def __post_init__(self) -> None:
        for name in _COUNTS:
            check_count(name, getattr(self, name))
        if not self.temperatures:
            raise InputError("--temperatures", "(none)", "give one at least, such as 0")
        for temperature in self.temperatures:
            SamplingParams(temperature=temperature)
        for k in self.ks or (0,):
            if not 1 <= k <= SPECULATIVE_TOKENS_MAX:
                remedy = f"give whole numbers from 1 to {SPECULATIVE_TOKENS_MAX}"
                raise InputError("--ks", k if self.ks else "(none)", remedy)
        for name in ("contenders", "ks", "temperatures"):
            given = getattr(self, name)
            if len(set(given)) < len(given):
                raise InputError(option_name(name), ",".join(map(str, given)), "give each only once")

    @property
    def all_devices(self) -> DeviceSpec | None:
        """The cores of both sides as one device; None where GPUs take part, which do not add up."""
        if self.target_devices.kind == self.draft_devices.kind == "cpu":
            return DeviceSpec("cpu", tuple(sorted({*self.target_devices.cores, *self.draft_devices.cores})))
        return None

    @property
    def shares_gpu(self) -> bool:
        """Whether both models run on one GPU."""
        return bool(set(self.target_devices.parts) & set(self.draft_devices.parts))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: str(value) if isinstance(value, Path | DeviceSpec) else value
            for name, value in values.items()
        }


def is_ascending(values: Sequence[float]) -> bool:
    """Whether the values ascend, none of them twice."""
    return all(before < after for before, after in pairwise(values))


def check_count(name: str, value: int) -> None:
    """Refuse what is no count.

    Raises:
        InputError: naming the option.
    """
    if value < 1:
        raise InputError(option_name(name), value, "give a whole number of 1 or more")


def fill(defaults: Mapping[str, Any], given: Mapping[str, Any], *, drafted: bool) -> dict[str, Any]:
    """Settings from what was given and defaults.

    A target of the caller's own is not widened unless that is asked for.

    Args:
        given: None means not given. Devices may be text.
        drafted: whether a draft was named.

    Raises:
        InputError: a target of the caller's own has no draft.
        DeviceError: a device does not exist, or two models would share a core.
    """
    values = {**defaults, **{name: value for name, value in given.items() if value is not None}}
    if values["target"] != EMBEDDED_MODEL:
        if not drafted:
            remedy = f"name a small model with the tokenizer of {values['target']}"
            raise InputError("--draft", "(not given)", remedy)
        if given.get("widen") is None:
            values["widen"] = 0
    return values | _choose_devices(values)


def option_name(name: str) -> str:
    """A setting as the command line calls it."""
    return f"--{name.replace('_', '-')}"


def _choose_devices(values: Mapping[str, Any]) -> dict[str, DeviceSpec]:
    """Where target and draft run, by the names of the settings, which may be there as text."""
    inventory = available()
    named = {
        name: parse_device(values[name], name) if values.get(name) else None
        for name in ("target_devices", "draft_devices")
    }
    drafts = named["draft_devices"]
    target, [draft] = default_devices(
        inventory, 1, target=named["target_devices"], drafts=None if drafts is None else [drafts]
    )
    check_devices(target, [draft], inventory, share_gpu=True)
    return {"target_devices": target, "draft_devices": draft}
