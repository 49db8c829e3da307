"""What one benchmark runs, checked before anything is started."""

from dataclasses import dataclass, fields
from typing import Any, Final

from amusd.bench.common import DEFAULTS, CommonSettings, fill, is_ascending
from amusd.config import EngineConfig, is_lookup
from amusd.errors import InputError

SECONDS_QUICK: Final = 240.0
"""When `--quick` stops repeating; what is left of five minutes is for the timeline, the ranks and charts."""

_DEFAULTS: Final = DEFAULTS | {
    "drafts": ("demo-small", "demo-large"),
    "num_prompts": 6,
    "max_tokens": 200,
    "repeats": 5,
    "contenders": (),
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


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchSettings(CommonSettings):
    """One benchmark.

    `temperatures` are ascending, `max_tokens` is of every output, exactly, and `contenders` are empty for all
    that can run here.

    Args:
        drafts: as `EngineConfig` takes one; any number of them, at least one.
        tuning_prompts: further prompts, on which k is chosen.
        tuning_tokens: of output per prompt while k is chosen.
        seconds_max: no further repeat begins when it would end after so many seconds; the first always does.

    Raises:
        InputError: naming the option.
    """

    drafts: tuple[str, ...]
    tuning_prompts: int
    tuning_tokens: int
    seconds_max: float | None

    def __post_init__(self) -> None:
        CommonSettings.__post_init__(self)  # super() does not know a class with slots
        if not is_ascending(self.temperatures):
            given = ",".join(f"{value:g}" for value in self.temperatures)
            raise InputError(
                "--temperatures", given, "give different numbers in ascending order, such as 0,1"
            )
        if not self.drafts or len(set(self.drafts)) < len(self.drafts):
            raise InputError("--draft", ", ".join(self.drafts), "give each draft once, and at least one")
        for draft in self.drafts:
            if is_lookup(draft):
                remedy = "it has no model to time; scripts/compare_drafters.py measures drafters without one"
                raise InputError("--draft", draft, remedy)
            EngineConfig(target=self.target, draft=draft, dtype=self.dtype, widen=self.widen)
            if draft == "none":
                raise InputError("--draft", draft, "the benchmark needs one; leave alone out to skip it")


def read_settings(*, quick: bool = False, **given: Any) -> BenchSettings:
    """Settings from what was given; the rest are the defaults, or those of `--quick`.

    Args:
        given: fields of `BenchSettings`; None means not given. Devices may be text.

    Raises:
        InputError: naming the option.
    """
    defaults = _DEFAULTS | (_QUICK if quick else {})
    values = fill(defaults, given, drafted=given.get("drafts") is not None)
    return BenchSettings(**{field.name: values[field.name] for field in fields(BenchSettings)})
