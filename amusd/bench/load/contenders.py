"""Who takes part: ways to serve the same target, each as the options of a server, and transformers' own."""

from dataclasses import dataclass
from typing import Final

from amusd.bench.load.settings import ALONE, BATCH, FIXED, TABLE, LoadSettings
from amusd.config import EngineConfig
from amusd.devices import DeviceSpec
from amusd.policies.table import read_table

WAYS: Final = {
    ALONE: ("--mode", "alone"),
    FIXED: ("--mode", "async", "--policy", "fixed"),
    "sync": ("--mode", "sync"),
    TABLE: ("--mode", "async", "--policy", "table"),
    "goodput": ("--mode", "async", "--policy", "goodput"),
}
TUNED: Final = (FIXED, "sync")
"""Those that are run with each number of drafted tokens; the others choose it, or draft none."""

NODES_DEFAULT: Final[int] = EngineConfig.model_fields["num_speculative_tokens"].default
"""Drafted tokens that a pass of ours verifies at most, where nobody says otherwise."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One server.

    Args:
        key: unique, and what tables and charts call it: `fixed k=3`.
        options: of `amusd serve`, beside those that all have.
        device: of transformers; None: it is ours.
    """

    key: str
    options: tuple[str, ...] = ()
    device: DeviceSpec | None = None

    @property
    def is_ours(self) -> bool:
        """Whether its answers have to be those of our target alone."""
        return self.device is None


def load_contenders(settings: LoadSettings) -> list[Contender]:
    """The target alone, by which every answer is judged, and those that were asked for beside it."""
    chosen: list[Contender] = []
    for name in dict.fromkeys((ALONE, *settings.contenders)):
        if name == BATCH:
            chosen += [Contender(f"{BATCH} {device}", device=device) for device in settings.batch_devices]
        elif name == TABLE:
            chosen.append(table_contender(settings))
        elif name in TUNED:
            chosen += [tuned_contender(name, k) for k in settings.ks]
        else:
            chosen.append(Contender(name, WAYS[name]))
    return chosen


def tuned_contender(name: str, k: int) -> Contender:
    """One with a number of drafted tokens."""
    return Contender(f"{name} k={k}", (*WAYS[name], "--num-speculative-tokens", str(k)))


def table_contender(settings: LoadSettings) -> Contender:
    """The one with a table; its file is only there once it was profiled, where none was given."""
    longest = NODES_DEFAULT
    if settings.table_file.exists():
        longest = max(longest, *read_table(settings.table_file).k_by_requests.values())
    file = ("--policy-table", str(settings.table_file))
    return Contender(TABLE, (*WAYS[TABLE], *file, "--num-speculative-tokens", str(longest)))


def profiled_contenders(settings: LoadSettings) -> dict[int, Contender]:
    """Whom a table is measured on, by the number of drafted tokens; 0 is the target alone."""
    return {0: Contender(ALONE, WAYS[ALONE])} | {k: tuned_contender(FIXED, k) for k in settings.ks}


def server_options(contender: Contender, settings: LoadSettings) -> tuple[str, ...]:
    """All options of a server of ours: the queue has room for every request of a run."""
    options = {
        "--target": settings.target,
        "--widen": settings.widen,
        "--dtype": settings.dtype,
        "--target-devices": settings.target_devices,
        "--max-requests": settings.max_requests,
        "--max-queue": settings.requests,
    }
    if contender.key != ALONE:
        options |= {"--draft": settings.draft, "--draft-devices": settings.draft_devices}
    given = tuple(text for name, value in options.items() for text in (name, str(value)))
    if contender.key != ALONE:
        given += tuple(text for lookup in settings.lookups for text in ("--draft", lookup))
    return (*given, *contender.options, *(("--share-gpu",) if settings.shares_gpu else ()))
