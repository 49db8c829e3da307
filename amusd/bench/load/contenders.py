"""Who takes part: ways to serve the same target, each as the options of a server."""

from dataclasses import dataclass
from typing import Final

from amusd.bench.load.settings import ALONE, LoadSettings

WAYS: Final = {
    ALONE: ("--mode", "alone"),
    "fixed": ("--mode", "async", "--policy", "fixed"),
    "sync": ("--mode", "sync"),
    "goodput": ("--mode", "async", "--policy", "goodput"),
}
TUNED: Final = ("fixed", "sync")
"""Those that are run with each number of drafted tokens; the others choose it, or draft none."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One server.

    Args:
        key: unique, and what tables and charts call it: `fixed k=3`.
        options: of `amusd serve`, beside those that all have.
    """

    key: str
    options: tuple[str, ...]


def load_contenders(settings: LoadSettings) -> list[Contender]:
    """The target alone, by which every answer is judged, and those that were asked for beside it."""
    chosen = []
    for name in dict.fromkeys((ALONE, *settings.contenders)):
        for k in settings.ks if name in TUNED else (None,):
            tokens = () if k is None else ("--num-speculative-tokens", str(k))
            chosen.append(Contender(name if k is None else f"{name} k={k}", (*WAYS[name], *tokens)))
    return chosen


def server_options(contender: Contender, settings: LoadSettings) -> tuple[str, ...]:
    """All options of a contender's server: the queue has room for every request of a run."""
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
    return (*given, *contender.options, *(("--share-gpu",) if settings.shares_gpu else ()))
