"""The self-check: which shapes of a pass agree bit for bit on this device, with this model.

"Lossless" decoding needs that a row's bits depend on its own request alone. That is true only of some
shapes, and which ones depends on the device, the library and the model's kernels; so it is measured. The
reference is plain decoding: one token per pass, alone, 4 rows wide.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from amusd.errors import ModelError
from amusd.models.loading import LoadedModel
from amusd.models.runner import CPU_BLOCK_CELLS, Rows, Runner

REQUESTS_TRIED_MAX = 32  # so that start-up stays quick; 32 requests of 16 rows are 512 rows
BLOCKS = (16, 64, 512)
_PREFIX = 21  # tokens before the compared ones; not a multiple of 4, so that prefill has a padded tail
_STEPS = 16
_CHUNKS = (24, 44, 100, 256)  # rows of a prefill; products pick their kernel by the number of rows
_LENGTHS = (447, 390, 333, 201, 170)  # cells attended where blocks are compared, longest first
_DISTINCT = 128  # of those cells; repeated to the length
_LONG = 1024 + 16  # cells of the neighbour that makes a pass long
_AGREEMENT_MIN = 0.99  # cosine of centred logits; a model that ignores masks or positions is far below


@dataclass(frozen=True, slots=True)
class SelfCheck:
    """What agrees with plain decoding bit for bit.

    Attributes:
        block: the attended length is padded to a multiple of this.
        block_agrees: whether longer padding leaves the bits as they are.
        blocks: other paddings that would do.
        widths: rows of a pass that agree.
        widths_tried: of those that the engine may use.
        batches: numbers of slots in a pass that agree.
        batches_tried: of those that the engine may use.
        prefill: whether prefill writes the cells that decoding writes.
        reason: why the model cannot be exact at all; empty if it can.
        prefill_seconds: that prefills of so many rows took.
    """

    block: int
    block_agrees: bool
    blocks: tuple[int, ...]
    widths: tuple[int, ...]
    widths_tried: tuple[int, ...]
    batches: tuple[int, ...]
    batches_tried: tuple[int, ...]
    prefill: bool
    reason: str
    prefill_seconds: Mapping[int, float] = field(default_factory=dict)

    @property
    def exact(self) -> bool:
        """Whether every shape that was tried agrees: then output is the same bytes in every mode."""
        shapes = self.widths == self.widths_tried and self.batches == self.batches_tried
        return shapes and self.block_agrees and self.prefill and not self.reason

    def lines(self) -> list[str]:
        """The report, for printing."""
        verdict = "exact: bit for bit the same in every mode" if self.exact else "exact up to rounding"
        if self.reason:
            verdict += f" ({self.reason})"
        return [
            verdict,
            f"attended length in blocks of {self.block}: {'agree' if self.block_agrees else 'DIFFER'}"
            f" (of {_join(BLOCKS)}, agree: {_join(self.blocks)})",
            f"rows per pass that agree: {_join(self.widths)} of {_join(self.widths_tried)}",
            f"requests per pass that agree: {_join(self.batches)} of {_join(self.batches_tried)}",
            f"prefill and decoding: {'agree' if self.prefill else 'DIFFER'}",
        ]


def self_check(runner: Runner, rows_max: int = _STEPS) -> SelfCheck:
    """Compare the shapes of passes on the runner's model; the runner's own cells are left alone.

    Args:
        runner: as it is used; it says how many slots a pass may have.
        rows_max: most rows of one slot in a pass.

    Raises:
        ModelError: the model ignores masks, positions or cells, so it cannot be run as trees.
    """
    loaded, block = runner.loaded, runner.block
    slots = min(runner.slots_max, REQUESTS_TRIED_MAX)
    bench = _Bench(loaded, slots, block, rows_max)
    reference = bench.chain(width=1)
    decoded = bench.snapshot()
    check_honoured(runner)
    widths = _tried((1, 4, 8, 16, 32, 64), min(rows_max, bench.steps))
    batches = _tried((2, 4, 8, 16), slots) if slots > 1 else ()
    widest = min(rows_max, _STEPS)
    blocks = _blocks_that_agree(loaded, (*BLOCKS, block))
    chunks_agree, prefill_seconds = _chunks_agree(loaded, block)
    return SelfCheck(
        block=block,
        block_agrees=block in blocks,
        blocks=tuple(size for size in BLOCKS if size in blocks),
        widths=tuple(width for width in widths if torch.equal(bench.chain(width), reference)),
        widths_tried=widths,
        batches=tuple(count for count in batches if torch.equal(bench.chain(widest, count), reference)),
        batches_tried=batches,
        prefill=bench.prefill_writes(decoded) and chunks_agree,
        reason="" if loaded.exact else loaded.inexact_because,
        prefill_seconds=prefill_seconds,
    )


def _tried(sizes: Sequence[int], largest: int) -> tuple[int, ...]:
    """The sizes below the largest, where kernels change, and the largest."""
    return (*(size for size in sizes if size < largest), largest)


class _Bench:
    """Random requests of different lengths, decoded in chains of any width."""

    def __init__(self, loaded: LoadedModel, slots: int, block: int, rows_max: int) -> None:
        room = (loaded.context or _PREFIX + rows_max) - _PREFIX
        self.steps = min(max(_STEPS, rows_max), max(_STEPS, room))
        context = _PREFIX + self.steps
        self.runner = Runner(loaded, slots=slots, context=context, block=block)
        generator = torch.Generator().manual_seed(0)
        tokens = torch.randint(loaded.vocabulary_size, (slots, context), generator=generator)
        self.tokens: list[list[int]] = tokens.tolist()
        for slot in range(slots):
            self.runner.open()
            self.runner.prefill(slot, self.tokens[slot][: self.start(slot)], 0, 0)

    def start(self, slot: int) -> int:
        """Position of a slot's first compared row; ragged on purpose."""
        return _PREFIX - slot % _STEPS

    def rows(self, slot: int, done: int, width: int) -> Rows:
        """A chain of `width` tokens behind the first `done` compared ones."""
        first = self.start(slot) + done
        cells = range(first, first + width)
        paths = [cells[: row + 1] for row in range(width)]
        return Rows(slot, self.tokens[slot][first : first + width], cells, cells, range(first), paths)

    def chain(self, width: int, slots: int = 1) -> Tensor:
        """[steps, vocabulary] logits of slot 0, `width` tokens a pass, `slots` requests in each pass.

        The others have from one row on, and lie before it, so that its rows begin anywhere.
        """
        parts = []
        for done in range(0, self.steps, width):
            count = min(width, self.steps - done)
            groups = [self.rows(slot, done, 1 + (slot + done) % count) for slot in range(1, slots)]
            parts.append(self.runner.forward([*groups, self.rows(0, done, count)])[-1])
        return torch.cat(parts)

    def snapshot(self) -> list[Tensor]:
        """Copies of the written cells of slot 0, all layers."""
        layers = self.runner.cells.snapshot(0, range(_PREFIX + self.steps))
        return [tensor for layer in layers for tensor in layer]

    def prefill_writes(self, cells: list[Tensor]) -> bool:
        """Whether one prefill writes these cells in slot 0, bit for bit."""
        self.runner.prefill(0, self.tokens[0], 0, 0)
        return all(torch.equal(a, b) for a, b in zip(self.snapshot(), cells, strict=True))


def _chunks_agree(loaded: LoadedModel, block: int) -> tuple[bool, dict[int, float]]:
    """Whether the first cells are the same bits after prefills of any size, and how long these took."""
    counts = {min(count, loaded.context or count) for count in _CHUNKS}
    generator = torch.Generator().manual_seed(2)
    tokens = torch.randint(loaded.vocabulary_size, (max(counts),), generator=generator).tolist()
    runner = Runner(loaded, slots=1, context=len(tokens), block=block)
    slot, first = runner.open(), range(min(_STEPS, len(tokens)))
    for start in range(0, len(first), 4):
        runner.prefill(slot, tokens[start : min(start + 4, len(first))], start, start)
    expected = runner.cells.snapshot(slot, first)
    agree, seconds = True, {}
    for count in sorted(counts):
        started = time.perf_counter()
        runner.prefill(slot, tokens[:count], 0, 0)
        found = runner.cells.snapshot(slot, first)
        agree &= all(
            torch.equal(*pair)
            for ours, theirs in zip(found, expected, strict=True)
            for pair in zip(ours, theirs, strict=True)
        )
        seconds[count] = time.perf_counter() - started  # the comparison waits for a GPU
    return agree, seconds


def _blocks_that_agree(loaded: LoadedModel, sizes: Sequence[int]) -> set[int]:
    """The paddings of the attended length whose bits are those of a much longer attended length."""
    distinct = min(_DISTINCT, (loaded.context or _DISTINCT) - _STEPS)
    runner = Runner(loaded, slots=2, context=distinct + _STEPS, block=CPU_BLOCK_CELLS, spare_cells=_LONG)
    slot, other = runner.open(), runner.open()
    generator = torch.Generator().manual_seed(1)
    tokens: list[int] = torch.randint(
        loaded.vocabulary_size, (distinct + _STEPS,), generator=generator
    ).tolist()
    runner.prefill(slot, tokens[:distinct], 0, 0)
    # Few cells show no difference, because their sums stay whole; so they are repeated.
    longest = range(distinct, max(_LENGTHS))
    runner.move(slot, [cell % distinct for cell in longest], longest)
    # A neighbour that sees so many cells makes the pass that long; what they hold does not matter.
    neighbour = Rows(other, [0], [0], [_LONG], range(_LONG), [[_LONG]])
    agree = set(sizes)
    for length in _LENGTHS:
        cells = range(length, length + _STEPS)
        paths = [cells[: row + 1] for row in range(_STEPS)]
        positions = range(distinct, distinct + _STEPS)
        rows = Rows(slot, tokens[distinct:], positions, cells, range(length), paths)
        runner.block = CPU_BLOCK_CELLS
        reference = runner.forward([rows, neighbour])[0]
        for size in tuple(agree):
            runner.block = size
            if not torch.equal(runner.forward([rows])[0], reference):
                agree.remove(size)
    return agree


def check_honoured(runner: Runner) -> None:
    """Compare with the model's own forward, roughly: a chain, and two branches in scattered cells.

    Lean layers are our own and were compared when they were built; transformers' are gone.

    Raises:
        ModelError: they have nothing to do with each other, so masks, positions or cells are ignored.
    """
    if runner.loaded.lean is not None:
        return
    bench = _Bench(runner.loaded, 1, runner.block, 1)
    chain, runner, first = bench.chain(width=1), bench.runner, bench.start(0)
    tokens = bench.tokens[0]
    trunk, left, right = tokens[:first], tokens[first : first + 2], tokens[first + 2 : first + 4]
    cells = [first, first + 2, first + 1, first + 3]  # left, right, left, right would be in order
    rows = Rows(
        slot=0,
        tokens=[left[0], right[0], left[1], right[1]],
        positions=[first, first, first + 1, first + 1],
        cells=cells,
        seen=range(first),
        ancestors=[[cells[0]], [cells[1]], [cells[0], cells[2]], [cells[1], cells[3]]],
    )
    tree = runner.forward([rows])[0]
    plain = _plain(runner.loaded, tokens)[first:]
    pairs: Sequence[tuple[Tensor, Tensor]] = (
        (chain, plain),
        (tree[[0, 2]], plain[:2]),
        (tree[[1, 3]], _plain(runner.loaded, [*trunk, *right])[first:]),
    )
    if runner.cells.layers_written == 0 or min(_agreement(a, b) for a, b in pairs) < _AGREEMENT_MIN:
        loaded = runner.loaded
        raise ModelError(
            f"{loaded.role}: {loaded.name}: {loaded.config.model_type} does not follow 4-D attention masks, "
            "positions and cells, so it cannot be run as trees; give another model"
        )


@torch.inference_mode()
def _plain(loaded: LoadedModel, tokens: list[int]) -> Tensor:
    """[tokens, vocabulary] logits of transformers' own forward, without a cache."""
    ids = torch.tensor([tokens], device=loaded.device)
    logits: Tensor = loaded.model(input_ids=ids, use_cache=False).logits[0]
    return logits


def _agreement(ours: Tensor, theirs: Tensor) -> float:
    """Least cosine between rows of logits, each centred."""
    a = ours.float() - ours.float().mean(-1, keepdim=True)
    b = theirs.float() - theirs.float().mean(-1, keepdim=True)
    return float(torch.nn.functional.cosine_similarity(a, b, dim=-1).min())


def _join(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers)) or "none"
