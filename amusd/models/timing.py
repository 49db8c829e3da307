"""How long a pass takes by its number of rows, measured once when a model is ready."""

import time
from typing import Final

from amusd.models.runner import Rows, Runner

REPEATS: Final = 3  # the fastest counts: whatever disturbs a pass makes it slower
EACH_MAX: Final = 12  # kernels take rows in groups: a row more costs nothing, or a group
FOURS_MAX: Final = 32  # every fourth; the first of many rows cost more than the last, so no line is right
ATTENDED_CELLS: Final = 128  # or as many as the context has


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
        rows = Rows(
            slot, [0] * len(cells), cells, cells, range(first), [cells[: i + 1] for i in range(len(cells))]
        )
        taken = []
        for _ in range(REPEATS):
            started = time.perf_counter()
            bench.forward([rows])[0][:, 0].max().item()  # waits for a GPU, too
            taken.append(time.perf_counter() - started)
        seconds[width] = min(taken)
    return seconds
