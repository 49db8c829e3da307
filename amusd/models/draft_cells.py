"""The draft's bookkeeping: speculated nodes keep their cells, so that each node is forwarded once.

Laws:
1. Cells 0..S-1 of a slot are scratch, held by speculated nodes in any order; the committed token at
   position p lives in cell S + p. Committed cells are written without a gap: positions 0..written-1.
2. A node's cell is written only when all its ancestors' cells are, so a committed node's cell can simply
   move to its place: everything before it is in place already.
3. Committed tokens that have no cell yet (a bonus, a correction) are caught up with: as rows before the
   nodes of the next pass, or by prefill when they are many.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from amusd.models.runner import Rows, Runner

CATCH_UP_ROWS_MAX = 4  # more committed tokens than this are prefilled, so that a pass stays narrow


@dataclass(frozen=True, slots=True)
class NodeRow:
    """One node to expand: its row predicts the tokens of its children.

    Attributes:
        id: the node, or None for the root (the last committed token).
        token: its token.
        position: its absolute position.
        ancestors: its live ancestors below the root, root's child first. Each has a cell already, or
            comes earlier in the same list of rows.
    """

    id: int | None
    token: int
    position: int
    ancestors: Sequence[int] = ()


@dataclass(slots=True)
class _Slot:
    tokens: list[int] = field(default_factory=list)  # the log
    written: int = 0  # committed positions that have a cell
    cells: dict[int, int] = field(default_factory=dict)  # node id -> scratch cell
    free: list[int] = field(default_factory=list)

    def release(self, node: int) -> None:
        cell = self.cells.pop(node, None)
        if cell is not None:
            self.free.append(cell)


class DraftCells:
    """Cells of the speculation trees of a runner's slots.

    Args:
        runner: whose slots; made with at least `scratch_cells` spare cells.
        scratch_cells: most nodes of a slot that can hold a cell at once.
    """

    def __init__(self, runner: Runner, scratch_cells: int) -> None:
        self.runner = runner
        self.scratch_cells = scratch_cells
        self._slots: list[_Slot] = []

    def open(self, tokens: Sequence[int]) -> int:
        """Take a slot for a log; its cells are written by `catch_up` or the first forward."""
        slot = self.runner.open()
        self._slots.append(_Slot(list(tokens), free=self._all_free()))
        return slot

    def close(self, slot: int) -> int | None:
        """Free a slot. Returns the slot whose content moved into it, or None."""
        moved = self.runner.close(slot)
        last = self._slots.pop()
        if moved is not None:
            self._slots[slot] = last
        return moved

    def length(self, slot: int) -> int:
        """Tokens in the log."""
        return len(self._slots[slot].tokens)

    def room(self, slot: int) -> int:
        """Nodes that can still get a cell."""
        return len(self._slots[slot].free)

    def has_cell(self, slot: int, node: int) -> bool:
        """Whether a live node was forwarded."""
        return node in self._slots[slot].cells

    def catch_up(self, slot: int, rows_left: int = 1, rows_max: int | None = None) -> int:
        """Prefill the committed tokens that have no cell, all but the last `rows_left` tokens of the log.

        Args:
            rows_max: no more than the first so many of them; None: all.

        Returns:
            how many there still are.
        """
        state = self._slots[slot]
        left = max(0, len(state.tokens) - rows_left - state.written)
        count = left if rows_max is None else min(left, rows_max)
        if count:
            tokens = state.tokens[state.written : state.written + count]
            self.runner.prefill(slot, tokens, state.written, self.scratch_cells + state.written)
            state.written += count
        return left - count

    @torch.inference_mode()
    def forward(self, items: Sequence[tuple[int, Sequence[NodeRow]]]) -> list[Tensor]:
        """Expand nodes of several requests in one pass.

        Args:
            items: (slot, its nodes), each slot at most once.

        Returns:
            of each item [its nodes, vocabulary] logits in the model's dtype.

        Raises:
            ValueError: a node whose ancestors have no cell, or more nodes than scratch cells.
        """
        plans = [self._plan(slot, nodes) for slot, nodes in items]
        logits = self.runner.forward([plan for plan, _ in plans])
        return [_take(part, rows) for part, (_, rows) in zip(logits, plans, strict=True)]

    def commit(
        self, slot: int, tokens: Sequence[int], nodes: Sequence[int], dropped: Sequence[int] = ()
    ) -> None:
        """Append committed tokens; cells of the nodes that they confirm move into place.

        Args:
            tokens: the new tokens of the log.
            nodes: ids of the nodes that are the first of these tokens, root's child first.
            dropped: ids of nodes that are live no longer; their cells are free.
        """
        state = self._slots[slot]
        start = len(state.tokens)
        state.tokens += tokens
        sources, destinations = [], []
        for position, node in enumerate(nodes, start):
            if node in state.cells and state.written == position:
                sources.append(state.cells[node])
                destinations.append(self.scratch_cells + position)
                state.written += 1
        self.runner.move(slot, sources, destinations)
        for node in (*nodes, *dropped):
            state.release(node)

    def reset(self, slot: int, tokens: Sequence[int]) -> None:
        """Replace the log; cells of the common prefix stay, every node loses its cell."""
        state = self._slots[slot]
        shared = 0
        for old, new in zip(state.tokens, tokens, strict=False):
            if old != new:
                break
            shared += 1
        state.tokens = list(tokens)
        state.written = min(state.written, shared)
        state.cells.clear()
        state.free = self._all_free()

    def _plan(self, slot: int, nodes: Sequence[NodeRow]) -> tuple[Rows, list[int]]:
        """The rows of one slot's nodes, behind those of its tokens without cells."""
        state = self._slots[slot]
        if len(state.tokens) - state.written > CATCH_UP_ROWS_MAX:
            self.catch_up(slot)
        first, base = state.written, self.scratch_cells
        # The root's row is needed to expand it, and as the ancestor of all nodes if it has no cell yet.
        stop = len(state.tokens)
        if first == stop and any(node.id is None for node in nodes):
            first -= 1  # expand a root whose cell is written: write the same cell again
        tokens, positions = state.tokens[first:], list(range(first, stop))
        cells = list(range(base + first, base + stop))
        trunk = tuple(cells)
        paths = [list(trunk[: row + 1]) for row in range(len(trunk))]
        answers = []
        for node in nodes:
            if node.id is None:
                answers.append(len(trunk) - 1)
                continue
            answers.append(len(cells))
            path = [*trunk, *self._cells_of(slot, node.ancestors), self._take(slot, node.id)]
            paths.append(path)
            tokens.append(node.token)
            positions.append(node.position)
            cells.append(path[-1])
        state.written = stop
        return Rows(slot, tokens, positions, cells, range(base, base + first), paths), answers

    def _cells_of(self, slot: int, ancestors: Sequence[int]) -> list[int]:
        cells = self._slots[slot].cells
        missing = [node for node in ancestors if node not in cells]
        if missing:
            raise ValueError(f"slot {slot}: ancestor {missing[0]} was never forwarded; expand parents first")
        return [cells[node] for node in ancestors]

    def _take(self, slot: int, node: int) -> int:
        state = self._slots[slot]
        if node not in state.cells:
            if not state.free:
                raise ValueError(f"slot {slot}: all {self.scratch_cells} scratch cells hold live nodes")
            state.cells[node] = state.free.pop()
        return state.cells[node]

    def _all_free(self) -> list[int]:
        return list(range(self.scratch_cells - 1, -1, -1))


def _take(logits: Tensor, rows: Sequence[int]) -> Tensor:
    """Some rows: a view where they are neighbours, for gathering costs 3 % of a small draft's step."""
    if list(rows) == list(range(rows[0], rows[0] + len(rows))):
        return logits[rows[0] : rows[0] + len(rows)]
    return logits[list(rows)]
