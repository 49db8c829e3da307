"""When requests arrive: open loop, so that a slow server does not slow the arrivals.

Laws:
- The first arrives at 0; `rate` is the mean number per second from there on.
- The same seed gives the same pattern at every rate, only stretched.
"""

import random
from typing import Final, Literal

Arrivals = Literal["poisson", "bursts"]

BURST: Final = 4
"""Requests that arrive together where they arrive in bursts."""


def arrival_times(
    kind: Arrivals, rate: float, count: int, seconds_max: float, seed: int
) -> tuple[float, ...]:
    """Seconds after the first arrival, ascending.

    Args:
        kind: "poisson": one at a time, exponential gaps; "bursts": `BURST` at once, gaps as many times as
            long.
        rate: requests per second, above 0.
        count: most arrivals.
        seconds_max: none arrives later.
    """
    size = BURST if kind == "bursts" else 1
    draws, now = random.Random(seed), 0.0
    times: list[float] = []
    while len(times) < count and now <= seconds_max:
        times += [now] * min(size, count - len(times))
        now += draws.expovariate(1.0) * size / rate
    return tuple(times)
