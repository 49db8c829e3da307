"""How long a pass takes, by its rows and by its widest request, measured once when a model is ready."""

import time
from typing import Final

from amusd.models.runner import Rows, Runner, round_up

REPEATS: Final = 3  # the fastest counts: whatever disturbs a pass makes it slower
EACH_MAX: Final = 12  # kernels take rows in groups: a row more costs nothing, or a group
FOURS_MAX: Final = 32  # every fourth; the first of many rows cost more than the last, so no line is right
ATTENDED_CELLS: Final = 128  # or as many as the context has

WIDTH_REQUESTS: Final = 8  # of a pass that shows what the widest request costs the others; or all slots
WIDTH_REPEATS: Final = 5
WIDEST: Final = 8
WIDE_SHARE_MIN: Final = 0.01  # of a pass: what is foreseen as nothing would never be learned


def time_passes(runner: Runner, rows_max: int) -> dict[int, float]:
    """Measure passes of one request on the runner's model; the runner's own cells are left alone.

    Args:
        rows_max: rows of the widest pass, or half as many as the context has positions; it, its halves,
            every width up to `EACH_MAX` and every fourth up to `FOURS_MAX` are measured.

    Returns:
        seconds by number of rows.
    """
    multiple = runner.loaded.rows_multiple
    rows_max = min(rows_max, max(multiple, runner.context // 2))
    context = min(runner.context, ATTENDED_CELLS + rows_max + multiple)
    bench = Runner(runner.loaded, slots=1, context=context, block=runner.block)
    slot = bench.open()
    first = max(0, context - rows_max - multiple)
    bench.prefill(slot, [0] * first, 0, 0)
    widths = {multiple, *range(multiple, min(rows_max, EACH_MAX) + 1, multiple)}
    widths.update(range(4, min(rows_max, FOURS_MAX) + 1, 4))
    width = rows_max
    while width > multiple:
        widths.add(-(-width // multiple) * multiple)
        width //= 2
    seconds = {}
    for width in sorted(widths):
        cells = range(first, first + min(width, context - first))
        seconds[width] = min(_time(bench, [_chain(slot, cells)]) for _ in range(REPEATS))
    return seconds


def time_width(runner: Runner) -> float:
    """Measure what attention takes for rows that a request does not have, but the widest beside it has.

    Two passes of as many rows are compared: in one all have as many, in the other one request has eight.

    Returns:
        seconds for each such row, request but one, and cell that is attended to; 0 where none can be wider
        than the others: of one request, or with a context of a few tokens.
    """
    requests, context = min(runner.slots_max, WIDTH_REQUESTS), min(runner.context, ATTENDED_CELLS)
    widest = min(WIDEST, context)
    uneven = [widest] + [1] * (requests - 1)
    each, rest = divmod(sum(uneven), requests)
    even = [each + (index < rest) for index in range(requests)]
    narrow = max(even)
    if widest == narrow:
        return 0.0
    bench = Runner(runner.loaded, slots=requests, context=context, block=runner.block)
    for _ in range(requests):
        bench.open()
    taken: dict[int, list[float]] = {}
    for _ in range(WIDTH_REPEATS):
        for widths in (even, uneven):
            groups = [_chain(slot, range(context - width, context)) for slot, width in enumerate(widths)]
            taken.setdefault(max(widths), []).append(_time(bench, groups))
    shorter = min(taken[narrow])
    longer = max(min(taken[widest]) - shorter, WIDE_SHARE_MIN * shorter)
    attended = round_up(context, bench.block)
    return longer / ((requests - 1) * attended * (widest - narrow))


def _chain(slot: int, cells: range) -> Rows:
    """Rows one after the other, which see all cells before them."""
    paths = [cells[: row + 1] for row in range(len(cells))]
    return Rows(slot, [0] * len(cells), cells, cells, range(cells.start), paths)


def _time(runner: Runner, groups: list[Rows]) -> float:
    """Seconds of one pass."""
    started = time.perf_counter()
    runner.forward(groups)[0][:, 0].max().item()  # waits for a GPU, too
    return time.perf_counter() - started
