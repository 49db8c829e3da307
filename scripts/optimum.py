"""How often the best possible rule would emit one of k siblings: the bound that rules are measured against.

By max-flow = min-cut the optimal transport from siblings to the emitted token hits with probability

    1 + min over sets H of tokens  [ p(H) - P(all siblings are in H) ]

and the best H holds the tokens with the smallest p / q (Hu et al. 2025, arXiv 2502.18779), so that only as
many sets as there are tokens have to be looked at. A test compares this with the linear program.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_STEP = 0.25
_LOG_TIMES = np.arange(-30.0, 40.0, _STEP)  # of the first arrival outside H; nothing changes within a step


def best_hit_rate(p: Floats, q: Floats, k: int, *, replace: bool) -> float:
    """The most that k siblings can be emitted.

    Args:
        p: [vocab] the target's probabilities.
        q: [vocab] the draft's; with fewer than k tokens in it all of them are siblings.
        replace: siblings are independent of each other, else drawn without replacement.
    """
    drawn = q > 0
    order = np.argsort(np.where(drawn, p / np.where(drawn, q, 1.0), np.inf), kind="stable")[: drawn.sum()]
    p, q = p[order] / p.sum(), q[order] / q.sum()
    inside = np.cumsum(q) ** k if replace else _all_inside(q, min(k, len(q)))
    cut = np.cumsum(p) - inside
    return float(1.0 + min(0.0, cut.min()))


def _all_inside(q: Floats, k: int) -> Floats:
    """[n] the chance that the first k arrivals of a race are all among the first 1, 2, ... n tokens.

    The race outside has its first arrival at T ~ Exp(1 - q(H)); k arrivals inside must come before it.
    """
    times = np.exp(_LOG_TIMES)
    fewer = np.zeros((k, len(times)))  # [arrivals, times] chance of so many arrivals so far
    fewer[0] = 1.0
    outside = np.append(np.cumsum(q[::-1])[::-1][1:], 0.0)  # 1 - q(H) as a tail sum
    found = np.empty(len(q))
    for index, rate in enumerate(q):
        arrived = -np.expm1(-rate * times)
        fewer[1:] = fewer[1:] * (1.0 - arrived) + fewer[:-1] * arrived
        fewer[0] *= 1.0 - arrived
        density = outside[index] * np.exp(-outside[index] * times) * times  # of log T
        found[index] = 1.0 - float((density * fewer.sum(axis=0)).sum()) * _STEP
    found[-1] = 1.0
    return found
