"""`goodput`: as many drafted nodes as make the most committed tokens per second, of whichever request.

A pass over requests i that verifies n_i nodes of each commits 1 + (reach_i1 + ... + reach_in) tokens of each,
for reaches add up to an expectation, and costs T(rows, widest). What is chosen is

    max over n of  sum_i w_i (1 + sum_{j <= n_i} reach_ij) / T(sum_i (1 + n_i), 1 + max_i n_i)

with weights w_i of 1, more for a request that is late. Reaches never grow along a choice, so the best n nodes
of those that are within a width are the n of highest reach, and only their number and that width are to be
found: from none on, at every load.

Goodput is SmartSpec's measure (arXiv 2406.14066). Here it is decided node by node, by each one's own
calibrated reach; and drafts are not counted in T, for they were made meanwhile, on another device.

Laws:
- A request whose nodes do not pay has none, but each has its own row in every pass: nobody starves.
- Without acceptance, no node is taken that costs anything.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from itertools import accumulate
from typing import Final

from amusd.policies.costs import CostCurve
from amusd.speculation.messages import RequestId

PRICE_ROWS: Final = 6  # of a group: FBGEMM's; others have four or eight

Reaches = Mapping[RequestId, Sequence[float]]


def goodput_widths(
    reaches: Reaches, costs: CostCurve, weights: Mapping[RequestId, float] | None = None
) -> dict[RequestId, int]:
    """How many nodes of each request's choice a pass takes.

    Args:
        reaches: by request, the chance that each node of its choice is accepted, never growing.
        weights: what a token of a request is worth, where that is not 1.
    """
    if not costs.together:
        return _one_width(reaches, costs, weights or {})
    worth = weights or {}
    ranked = sorted(
        (
            (-worth.get(request, 1.0) * reach, place, request)
            for request, chain in reaches.items()
            for place, reach in enumerate(chain)
        ),
    )
    requests, multiple = len(reaches), costs.rows_multiple
    least = sum(worth.get(request, 1.0) for request in reaches)
    free = -requests % multiple  # nodes for rows that are padding otherwise
    of_count = cache(lambda count: costs.of_rows(requests + count, requests))
    wider, longest = costs.of_wider(requests), max(map(len, reaches.values()), default=0)
    deep = [0]  # how many nodes have one as deep as a width allows; with fewer a smaller one has the same
    most = [0.0] * (longest + 1)  # tokens that a width allows at most
    for count, (minus, place, _) in enumerate(ranked, 1):
        if place == len(deep) - 1:
            deep.append(count)
        most[place + 1] -= minus
    most = list(accumulate(most, initial=least))[1:]
    best_rate, best = 0.0, ranked[:0]
    for width in range(longest + 1) if wider else (longest,):
        first = free + -(-max(0, deep[width] - free) // multiple) * multiple if wider else free
        if most[width] <= best_rate * (of_count(first) + width * wider):
            continue
        allowed = ranked if width == longest else [node for node in ranked if node[1] < width]
        tokens = list(accumulate((-minus for minus, _, _ in allowed), initial=least))
        for count in (*range(first, len(allowed), multiple), len(allowed)):
            rate = tokens[count] / (of_count(count) + width * wider)
            if rate > best_rate:
                best_rate, best = rate, allowed[:count]
    widths = dict.fromkeys(reaches, 0)
    for _, _, request in best:
        widths[request] += 1
    return widths


def price(tokens: float, widths: Collection[int], costs: CostCurve) -> float:
    """The reach from which on a node pays for its row, where it makes no request the widest.

    Not the very next row: kernels take rows in groups, so one costs nothing within a group, and behind it as
    much as a group. What is drafted at this price comes beside other rows, so what counts is the mean of the
    rows about the last one, `PRICE_ROWS` before and behind it.

    Args:
        tokens: expected of the pass as it is.
        widths: of the pass as it is, in rows.
    """
    requests, widest, rows = len(widths), max(widths), costs.rows(widths)
    span = costs.padded(PRICE_ROWS)
    least, most = max(rows - span, costs.padded(requests)), rows + span
    fewer, seconds, more = (costs.of_rows(count, requests, widest=widest) for count in (least, rows, most))
    return tokens * (more - fewer) / ((most - least) * seconds)


def _one_width(
    reaches: Reaches, costs: CostCurve, weights: Mapping[RequestId, float]
) -> dict[RequestId, int]:
    """The same where all requests are padded to the widest."""
    longest = max((len(chain) for chain in reaches.values()), default=0)
    multiple = costs.rows_multiple
    full = {min(rows - 1, longest) for rows in range(multiple, longest + 1 + multiple, multiple)}

    def rate(width: int) -> float:
        tokens = sum(
            weights.get(request, 1.0) * (1.0 + sum(chain[:width])) for request, chain in reaches.items()
        )
        return tokens / costs.seconds(len(reaches), width + 1)

    best = max(sorted(full), key=rate, default=0)
    return {request: min(len(chain), best) for request, chain in reaches.items()}
