"""What one load benchmark runs, checked before anything is started."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, get_args

from amusd.bench.common import DEFAULTS, CommonSettings, check_count, fill, is_ascending, option_name
from amusd.config import EngineConfig, is_lookup
from amusd.devices import DeviceSpec
from amusd.errors import InputError
from amusd.policies.table import read_table
from amusd.simulation.arrivals import Arrivals

ALONE: Final = "alone"
FIXED: Final = "fixed"
TABLE: Final = "table"
BATCH: Final = "transformers"
"""Its continuous batching, without speculation."""

NAMES: Final = (ALONE, FIXED, "sync", TABLE, "goodput", BATCH)
TABLE_FILE: Final = "policy-table.json"
_ONE_MODEL: Final = "under load one model drafts, with lookups such as prompt-lookup beside it; name one"

_DEFAULTS: Final = DEFAULTS | {
    "draft": "demo-large",
    "lookups": (),
    "num_prompts": 12,
    "max_tokens": 64,
    "contenders": (ALONE, FIXED, TABLE, "goodput", BATCH),
    "ks": (1, 3, 5, 7),
    "rates": (),
    "requests": 48,
    "arrivals": "poisson",
    "seconds": 60.0,
    "repeats": 3,
    "max_requests": 32,
    "live": (16,),
    "hold_seconds": 6.0,
    "policy_table": None,
}
_QUICK: Final[dict[str, Any]] = {
    "widen": 4096,
    "max_tokens": 32,
    "ks": (3, 7),
    "requests": 12,
    "seconds": 10.0,
    "repeats": 1,
    "max_requests": 8,
    "live": (4,),
    "hold_seconds": 1.5,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadSettings(CommonSettings):
    """One load benchmark.

    Requests take turns at `temperatures`, the shortest answer has half of `max_tokens`, and of `contenders`
    the target alone always takes part.

    Args:
        draft, max_requests: as `EngineConfig` takes them; the draft is one model.
        lookups: drafts without a model, beside it.
        rates: requests per second, ascending; empty takes multiples of what the target alone can bear.
        requests: most of a run.
        arrivals: how they come.
        seconds: none arrives later, and twice as many after the first the run is ended.
        live: numbers of requests of the closed loops, ascending; none leaves them out.
        hold_seconds: of each closed loop, also of those of a profile.
        policy_table: file of the contender `table`; None profiles before anything is measured.

    Raises:
        InputError: naming the option.
    """

    draft: str
    lookups: tuple[str, ...]
    max_requests: int
    rates: tuple[float, ...]
    requests: int
    arrivals: Arrivals
    seconds: float
    live: tuple[int, ...]
    hold_seconds: float
    policy_table: Path | None

    def __post_init__(self) -> None:
        CommonSettings.__post_init__(self)  # super() does not know a class with slots
        for name in ("requests", "max_requests"):
            check_count(name, getattr(self, name))
        for name in ("seconds", "hold_seconds"):
            if not 0 < getattr(self, name) < float("inf"):
                raise InputError(option_name(name), getattr(self, name), "give a number above 0")
        if not all(1 <= live <= self.max_requests for live in self.live) or not is_ascending(self.live):
            given = ",".join(map(str, self.live))
            remedy = (
                f"give different numbers from 1 to {self.max_requests} (--max-requests) in ascending order"
            )
            raise InputError("--live", given, remedy)
        if self.policy_table is not None:
            read_table(self.policy_table)
        if not all(0 < rate < float("inf") for rate in self.rates) or not is_ascending(self.rates):
            given = ",".join(f"{rate:g}" for rate in self.rates)
            raise InputError(
                "--rates", given, "give different numbers above 0 in ascending order, such as 0.5,2,8"
            )
        if self.arrivals not in get_args(Arrivals):
            raise InputError("--arrivals", self.arrivals, f"give one of {', '.join(get_args(Arrivals))}")
        for name in self.contenders:
            if name not in NAMES:
                remedy = f"there is no such contender under load; choose from {', '.join(NAMES)}"
                raise InputError("--contenders", name, remedy)
        if self.draft == "none" or is_lookup(self.draft):
            raise InputError("--draft", self.draft, _ONE_MODEL)
        EngineConfig(
            target=self.target,
            draft=(self.draft, *self.lookups),
            dtype=self.dtype,
            widen=self.widen,
            max_requests=self.max_requests,
        )

    @property
    def table_file(self) -> Path:
        """Where the table of `table` is, or will be."""
        return self.policy_table or self.out / TABLE_FILE

    @property
    def batch_devices(self) -> tuple[DeviceSpec, ...]:
        """Where transformers runs: on the target's devices, and on all cores where both sides have cores."""
        return (self.target_devices, *filter(None, (self.all_devices,)))


def read_load_settings(
    *, quick: bool = False, drafts: tuple[str, ...] | None = None, **given: Any
) -> LoadSettings:
    """Settings from what was given; the rest are the defaults, or those of `--quick`.

    Args:
        drafts: one model, and lookups beside it; None for the default.
        given: fields of `LoadSettings`, others are passed over; None means not given. Devices may be text.

    Raises:
        InputError: naming the option.
    """
    lookups = tuple(filter(is_lookup, drafts or ()))
    models = [draft for draft in drafts or () if draft not in lookups]
    if drafts is not None and len(models) != 1:
        raise InputError("--draft", ", ".join(drafts), _ONE_MODEL)
    defaults = _DEFAULTS | (_QUICK if quick else {})
    values = fill(defaults, given, drafted=drafts is not None)
    if given.get("live") is None:
        values["live"] = tuple(live for live in values["live"] if live <= values["max_requests"])
    if drafts is not None:
        values |= {"draft": models[0], "lookups": lookups}
    return LoadSettings(**{field.name: values[field.name] for field in fields(LoadSettings)})
