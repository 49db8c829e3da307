"""The table of the policy `table`: the fastest number of drafted tokens for each number of live requests.

Measured offline, in closed loops, on servers that draft a fixed number of tokens; on other requests than
those that are measured later, from the same mix.
"""

import random
from collections.abc import Mapping, Sequence
from typing import Any, Final

from amusd.bench.load.jobs import Job
from amusd.bench.load.running import Running
from amusd.bench.progress import Progress
from amusd.policies.table import SpeculationTable, best_table

LIVE: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Numbers of live requests that are measured, as far as a server takes them."""


def profiled_live(max_requests: int) -> tuple[int, ...]:
    """Those that a server takes."""
    return tuple(live for live in LIVE if live <= max_requests)


def profile(
    servers: Mapping[int, Running],
    jobs: Sequence[Job],
    max_requests: int,
    seconds: float,
    seed: int,
    about: Mapping[str, Any],
    progress: Progress,
) -> SpeculationTable:
    """Measure every server with every number of live requests.

    Args:
        servers: by their number of drafted tokens; 0 drafts none.
        seconds: of each closed loop, from when each of its first requests is finished.
        seed: of the order.
        about: kept with the table, for people.

    Raises:
        AmusdError: a server failed.
    """
    numbers = profiled_live(max_requests)
    progress.begin("profiling", len(numbers) * len(servers))
    order = random.Random(seed).sample(list(servers), len(servers))
    rates: dict[int, dict[int, float]] = {}
    for turn, live in enumerate(numbers):
        rates[live] = {}
        at = turn % len(order)
        for k in order[at:] + order[:at]:
            progress.step(f"{live} live requests, {k} drafted tokens")
            held = servers[k].hold(jobs, live, seconds)
            rates[live][k] = held.tokens / held.seconds
        rates[live] = dict(sorted(rates[live].items()))
    return best_table(rates, about)
