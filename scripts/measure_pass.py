"""Time a pass of the widened target and a step of each embedded draft on one core, beside a read of memory.

    python scripts/measure_pass.py

Prints, median of `--repeats` with the fastest and the slowest: how fast one core reads memory (the fastest
of some reductions over 512 MiB, in huge pages where the machine has them, GB/s); a target pass by its number
of rows, and the weights that it reads per second as a share of that; a step of `ModelDrafter.expand`
(forward, race, candidates) at one and at four nodes of one request. The machine has to be otherwise idle.
"""

import argparse
import os
import time
from collections.abc import Callable
from statistics import median

import torch

from amusd.devices import parse_device, thread_environment
from amusd.drafters.base import Expansion
from amusd.drafters.model import BLOCK_CELLS, ModelDrafter
from amusd.models import DraftCells, ModelSpec, Runner, TargetCells, load_model, sizes
from amusd.params import SamplingParams

CONTEXT = 512
PROMPT_TOKENS = 128
WINDOW = 64
READ_FLOATS = 128 * 2**20
ROWS = (1, 4, 8, 16)


def timed(repeats: int, action: Callable[[], object]) -> tuple[float, float, float]:
    """Median, least and most seconds of an action, after three that do not count."""
    for _ in range(3):
        action()
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        action()
        taken.append(time.perf_counter() - started)
    return median(taken), min(taken), max(taken)


def read_speed() -> float:
    """Bytes per second of the fastest plain read of memory by this core."""
    floats = torch.ones(READ_FLOATS)
    reads: list[Callable[[], object]] = [floats.sum, floats.amax, lambda: torch.dot(floats, floats)]
    return 4 * READ_FLOATS / min(timed(5, read)[1] for read in reads)


def time_target(widen: int, repeats: int, bytes_per_second: float) -> None:
    """Passes of one request by number of rows."""
    loaded = load_model(ModelSpec("demo", widen=widen), parse_device("cpu:0"), slots=1, context=CONTEXT)
    weights = sizes.weights_bytes(loaded.config, loaded.weights_dtype, widen)
    cells = TargetCells(Runner(loaded, slots=1, context=CONTEXT))
    slot = cells.open()
    cells.prefill(slot, [0] * PROMPT_TOKENS)
    print(f"target of {weights / 1e9:.3f} GB, {loaded.describe_dtype()}")
    for rows in ROWS:
        plan = cells.plan(slot, 0, [0] * (rows - 1), list(range(-1, rows - 2)))
        taken = timed(repeats, lambda plan=plan: cells.forward([plan]))
        share = weights / taken[0] / bytes_per_second
        print(f"  {rows:2} rows  {milliseconds(*taken)}  {share:.2f} of a plain read", flush=True)


def time_draft(name: str, repeats: int) -> None:
    """Steps over one request's nodes below a prompt: the root, and the root's four children."""
    loaded = load_model(
        ModelSpec(name, role="draft"), parse_device("cpu:0"), slots=1, context=CONTEXT, spare_cells=WINDOW
    )
    runner = Runner(loaded, slots=1, context=CONTEXT, block=BLOCK_CELLS, spare_cells=WINDOW)
    drafter = ModelDrafter(DraftCells(runner, WINDOW), loaded.vocabulary_size)
    drafter.open(0, [0] * PROMPT_TOKENS, PROMPT_TOKENS, SamplingParams(), seed=7)
    end = PROMPT_TOKENS - 1
    root = [Expansion(0, None, 0, end, (), (), 4)]
    drafter.expand(root)
    children = [Expansion(0, node, node, end + 1, (), (node,), 4) for node in range(4)]
    print(f"{name}, {loaded.describe_dtype()}")
    for rows, items in ((1, root), (4, children)):
        print(f"  {rows:2} rows  {milliseconds(*timed(repeats, lambda i=items: drafter.expand(i)))}")


def milliseconds(middle: float, least: float, most: float) -> str:
    """For a line of the table."""
    return f"{1e3 * middle:6.2f} ms ({1e3 * least:.2f}-{1e3 * most:.2f})"


def main() -> None:
    """Measure everything on one core."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--widen", type=int, default=12288, help="FFN neurons of the target")
    parser.add_argument("--repeats", type=int, default=50)
    options = parser.parse_args()
    core = min(os.sched_getaffinity(0))
    os.environ.update(thread_environment(parse_device(f"cpu:{core}")))  # before torch allocates anything
    os.sched_setaffinity(0, {core})
    torch.set_num_threads(1)
    bytes_per_second = read_speed()
    print(f"a plain read of memory: {bytes_per_second / 1e9:.1f} GB/s")
    time_target(options.widen, options.repeats, bytes_per_second)
    for name in ("demo-small", "demo-large"):
        time_draft(name, 4 * options.repeats)


if __name__ == "__main__":
    main()
