"""What one benchmark runs, checked before anything is started."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

from amusd.config import EMBEDDED_MODEL, SPECULATIVE_TOKENS_MAX, EngineConfig, is_lookup
from amusd.devices import DeviceSpec, available, check_devices, default_devices, parse_device
from amusd.errors import InputError
from amusd.params import SamplingParams

SEED_DEFAULT: Final = 20260
SECONDS_QUICK: Final = 240.0
"""When `--quick` stops repeating; what is left of five minutes is for the timeline, the ranks and charts."""

_DEFAULTS: Final[dict[str, Any]] = {
    "target": EMBEDDED_MODEL,
    "drafts": ("demo-small", "demo-large"),
    "dtype": "auto",
    "widen": 12288,
    "temperatures": (0.0, 1.0),
    "prompts_file": None,
    "num_prompts": 6,
    "max_tokens": 200,
    "repeats": 5,
    "contenders": (),
    "out": Path("bench-results"),
    "seed": SEED_DEFAULT,
    "ks": (1, 2, 3, 5, 7, 11, 15),
    "tuning_prompts": 3,
    "tuning_tokens": 100,
    "seconds_max": None,
}
_QUICK: Final[dict[str, Any]] = {
    "drafts": ("demo-large",),
    "widen": 4096,
    "num_prompts": 3,
    "max_tokens": 48,
    "repeats": 2,
    "ks": (3, 7),
    "tuning_prompts": 1,
    "tuning_tokens": 24,
    "seconds_max": SECONDS_QUICK,
}
_COUNTS: Final = ("num_prompts", "max_tokens", "repeats")


@dataclass(frozen=True, slots=True)
class BenchSettings:
    """One benchmark.

    Args:
        target, drafts, dtype, widen: as `EngineConfig` takes them; any number of drafts, at least one.
        temperatures: ascending, distinct.
        prompts_file: JSON Lines, None for the embedded prompts.
        num_prompts: measured ones; as many as `tuning_prompts` more are used for choosing k.
        max_tokens: of every output, exactly.
        repeats: how often each contender is measured.
        contenders: names, empty for all that can run here.
        out: folder of the results.
        seed: of the order.
        ks: the numbers of drafted tokens that are tried.
        tuning_tokens: of output per prompt while k is chosen.
        seconds_max: no further repeat begins when it would end after so many seconds; the first always does.
        target_devices, draft_devices: where the models run; one GPU may be named for both.

    Raises:
        InputError: naming the option.
    """

    target: str
    drafts: tuple[str, ...]
    dtype: str
    widen: int
    temperatures: tuple[float, ...]
    prompts_file: Path | None
    num_prompts: int
    max_tokens: int
    repeats: int
    contenders: tuple[str, ...]
    out: Path
    seed: int
    ks: tuple[int, ...]
    tuning_prompts: int
    tuning_tokens: int
    seconds_max: float | None
    target_devices: DeviceSpec
    draft_devices: DeviceSpec

    def __post_init__(self) -> None:
        for name in _COUNTS:
            if getattr(self, name) < 1:
                raise InputError(option_name(name), getattr(self, name), "give a whole number of 1 or more")
        for temperature in self.temperatures:
            SamplingParams(temperature=temperature)
        if not self.temperatures or sorted(set(self.temperatures)) != list(self.temperatures):
            given = ",".join(f"{value:g}" for value in self.temperatures)
            raise InputError(
                "--temperatures", given, "give different numbers in ascending order, such as 0,1"
            )
        for k in self.ks or (0,):
            if not 1 <= k <= SPECULATIVE_TOKENS_MAX:
                remedy = f"give whole numbers from 1 to {SPECULATIVE_TOKENS_MAX}"
                raise InputError("--ks", k if self.ks else "(none)", remedy)
        if not self.drafts or len(set(self.drafts)) < len(self.drafts):
            raise InputError("--draft", ", ".join(self.drafts), "give each draft once, and at least one")
        for draft in self.drafts:
            if is_lookup(draft):
                remedy = "it has no model to time; scripts/compare_drafters.py measures drafters without one"
                raise InputError("--draft", draft, remedy)
            EngineConfig(target=self.target, draft=draft, dtype=self.dtype, widen=self.widen)
            if draft == "none":
                raise InputError("--draft", draft, "the benchmark needs one; leave alone out to skip it")

    @property
    def all_devices(self) -> DeviceSpec | None:
        """The cores of both sides as one device; None where GPUs take part, which do not add up."""
        if self.target_devices.kind == self.draft_devices.kind == "cpu":
            return DeviceSpec("cpu", tuple(sorted(self.target_devices.cores + self.draft_devices.cores)))
        return None

    @property
    def shares_gpu(self) -> bool:
        """Whether both models run on one GPU."""
        return bool(set(self.target_devices.parts) & set(self.draft_devices.parts))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values by name."""
        plain = {"prompts_file": self.prompts_file and str(self.prompts_file), "out": str(self.out)}
        devices = {name: str(getattr(self, name)) for name in ("target_devices", "draft_devices")}
        return asdict(self) | plain | devices


def read_settings(*, quick: bool = False, **given: Any) -> BenchSettings:
    """Settings from what was given; the rest are the defaults, or those of `--quick`.

    Args:
        given: fields of `BenchSettings`; None means not given. Devices may be text.

    Raises:
        InputError: naming the option.
    """
    values = _DEFAULTS | (_QUICK if quick else {})
    values |= {name: value for name, value in given.items() if value is not None}
    if values["target"] != EMBEDDED_MODEL:
        if given.get("drafts") is None:
            remedy = f"name a small model with the tokenizer of {values['target']}"
            raise InputError("--draft", "(not given)", remedy)
        if given.get("widen") is None:
            values["widen"] = 0
    values |= choose_devices(values)
    return BenchSettings(**{field.name: values[field.name] for field in fields(BenchSettings)})


def choose_devices(values: Mapping[str, Any]) -> dict[str, DeviceSpec]:
    """Where target and draft run, by the names of the settings.

    Args:
        values: may have these settings, as text.

    Raises:
        DeviceError: a device does not exist, or two models would share a core.
    """
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


def option_name(name: str) -> str:
    """A setting as the command line calls it."""
    return f"--{name.replace('_', '-')}"
