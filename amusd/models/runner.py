"""The runner: many requests, each with its own tree, through one model as `[batch, rows]` passes.

Laws (with them the bits of a row depend on its own request alone; `selfcheck` tests it on a device):
1. A pass is [B, W]: one batch row per slot, W a multiple of the model's `rows_multiple` (4 unless its
   products are known to give the same bits at every number of rows), so every product's row count is too.
2. The attended length is a multiple of `block`, in prefill as well.
3. A padding row writes to a scratch cell outside the attended range, sees exactly one valid cell and
   reuses a position that the request already has, so that no row is NaN and no position table overruns.
4. Plain decoding is the same pass with an empty tree.
Source: design, sections 4 and 5 (docs/design.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from amusd.errors import InputError
from amusd.models.cells import Cells
from amusd.models.loading import LoadedModel

CHUNK_ROWS = 256
CPU_BLOCK_CELLS = 512  # the CPU attention kernel splits the keys there; shorter padding changes bits

# Additive masks are written as raw bits because numpy has no bfloat16: (raw type, 0, minus infinity).
_MASK_BITS: dict[torch.dtype, tuple[Any, Any]] = {
    torch.bfloat16: (np.uint16, 0xFF80),
    torch.float16: (np.uint16, 0xFC00),
    torch.float32: (np.float32, -np.inf),
    torch.float64: (np.float64, -np.inf),
}
_Mask = np.ndarray[Any, np.dtype[Any]]


@dataclass(slots=True)
class Rows:
    """One slot's rows in a forward.

    Attributes:
        slot: whose rows these are.
        tokens: the token of each row.
        positions: absolute position of each row.
        cells: the cell that each row writes.
        seen: committed cells that every row sees; the first holds position 0, the others follow in order.
        ancestors: further cells that each row sees, as its path: the last is the row's own cell, the one
            before it belongs to the position before, and so on (sliding windows count on that).
    """

    slot: int
    tokens: Sequence[int]
    positions: Sequence[int]
    cells: Sequence[int]
    seen: range
    ancestors: Sequence[Sequence[int]]


class Runner:
    """A model with its cells.

    Args:
        loaded: the model.
        slots: most requests at a time.
        context: most positions of a request.
        block: the attended length is padded to a multiple of this many cells.
        spare_cells: cells of a slot beyond `context`, for speculation.

    Raises:
        InputError: `context` is more than the model has positions for.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        *,
        slots: int,
        context: int,
        block: int = CPU_BLOCK_CELLS,
        spare_cells: int = 0,
    ) -> None:
        if loaded.context is not None and context > loaded.context:
            remedy = f"the {loaded.role} {loaded.name} holds {loaded.context} positions; give at most that"
            raise InputError("max_model_len", context, remedy)
        self.loaded = loaded
        self.slots_max = slots
        self.context = context
        self.block = block
        self.cells = Cells(slots, round_up(context + spare_cells, block))
        self.open_slots = 0
        self._used: list[int] = []  # cells of each slot that were ever written, for moving it
        self._model = loaded.model
        self._body = getattr(loaded.model, loaded.model.base_model_prefix)
        self._raw, self._hidden = _MASK_BITS[loaded.dtype]

    # -- slots -----------------------------------------------------------------------------------

    def open(self) -> int:
        """Take the next slot; open slots are always 0, 1, 2, ... without a hole.

        Raises:
            InputError: all slots are taken.
        """
        if self.open_slots == self.slots_max:
            raise InputError("max_requests", self.slots_max, "all slots are in use; raise it")
        self.open_slots += 1
        self._used.append(0)
        return self.open_slots - 1

    @torch.inference_mode()
    def close(self, slot: int) -> int | None:
        """Free a slot. Returns the slot whose content moved into it, or None when it was the last one."""
        last = self.open_slots - 1
        used = self._used.pop()
        self.open_slots = last
        if slot == last:
            return None
        if used:  # a slot that was never written may have no cells yet
            self.cells.copy_cells(last, slot, range(used))
        self._used[slot] = used
        return last

    @torch.inference_mode()
    def move(self, slot: int, sources: Sequence[int], destinations: Sequence[int]) -> None:
        """Copy a few cells of a slot; all are read before any is written."""
        if sources:
            self._reserve(slot, max(destinations) + 1)
            self.cells.move(slot, list(sources), list(destinations))

    @torch.inference_mode()
    def copy(self, source: int, destination: int, cells: range) -> None:
        """Copy some cells of one slot to the same places of another."""
        if cells:
            self._reserve(destination, cells.stop)
            self.cells.copy_cells(source, destination, cells)

    # -- passes ----------------------------------------------------------------------------------

    @torch.inference_mode()
    def prefill(
        self, slot: int, tokens: Sequence[int], start: int, first_cell: int, *, head: bool = False
    ) -> Tensor | None:
        """Write the cells of committed tokens.

        Args:
            slot: whose tokens.
            tokens: the tokens at positions start, start + 1, ...
            start: position of the first one; the positions before it have their cells already.
            first_cell: cell of the first one; position p lives in cell first_cell - start + p.
            head: compute the logits too.

        Returns:
            [tokens, vocabulary] logits in the model's dtype if `head`, else None.
        """
        origin = first_cell - start
        found = [torch.empty(0, self.loaded.vocabulary_size)]
        for done in range(0, len(tokens), CHUNK_ROWS):
            chunk = tokens[done : done + CHUNK_ROWS]
            logits = self._prefill_chunk(slot, chunk, start + done, origin, head)
            if logits is not None:
                found.append(logits)
        return torch.cat(found[1:] or found) if head else None

    def _prefill_chunk(
        self, slot: int, tokens: Sequence[int], start: int, origin: int, head: bool
    ) -> Tensor | None:
        count = len(tokens)
        width = round_up(count, self.loaded.rows_multiple)
        stop = origin + start + count
        attended = self._reserve(slot, stop)
        ids = np.zeros((1, width), np.int64)
        positions = np.full((1, width), start, np.int64)
        cells = np.full((1, width), self.cells.scratch, np.int64)
        ids[0, :count] = tokens
        positions[0, :count] = np.arange(start, start + count)
        cells[0, :count] = np.arange(stop - count, stop)
        masks = {}
        for kind, window in self.loaded.windows.items():
            mask = np.full((1, 1, width, attended), self._hidden, self._raw)
            mask[0, 0, count:, 0] = 0
            row = np.arange(count)[:, None] + (origin + start)  # [count, 1] the row's own cell
            cell = np.arange(origin, stop)[None, :]  # [1, cells]
            visible = cell <= row
            if window is not None:
                visible &= cell > row - window
            mask[0, 0, :count, origin:stop][visible] = 0
            masks[kind] = mask
        self.cells.begin(slot, slot + 1, cells, attended)
        logits = self._run(ids, positions, masks, head=head)
        return None if logits is None else logits[0, :count]

    @torch.inference_mode()
    def forward(self, groups: Sequence[Rows]) -> Tensor:
        """One pass over the rows of all groups, at most one group per slot.

        Returns:
            [len(groups), W, vocabulary] logits in the model's dtype on its last device, W the largest
            group padded to a multiple of the model's `rows_multiple`. Rows beyond a group's own are garbage.
        """
        slots = [group.slot for group in groups]
        first, last = min(slots), max(slots) + 1
        width = round_up(max(len(group.tokens) for group in groups), self.loaded.rows_multiple)
        attended = max(self._reserve(group.slot, _highest_cell(group) + 1) for group in groups)
        batch = last - first
        ids = np.zeros((batch, width), np.int64)
        positions = np.zeros((batch, width), np.int64)
        cells = np.full((batch, width), self.cells.scratch, np.int64)
        shape = batch, 1, width, attended
        masks = {kind: np.full(shape, self._hidden, self._raw) for kind in self.loaded.windows}
        for group in groups:
            row, count = group.slot - first, len(group.tokens)
            ids[row, :count] = group.tokens
            positions[row] = group.positions[0]
            positions[row, :count] = group.positions
            cells[row, :count] = group.cells
            for kind, window in self.loaded.windows.items():
                _show(masks[kind][row, 0], group, window)
        if batch > len(groups):
            idle = sorted(set(range(first, last)) - set(slots))
            for mask in masks.values():
                mask[[slot - first for slot in idle], 0, :, 0] = 0
        self.cells.begin(first, last, cells, attended)
        logits = self._run(ids, positions, masks, head=True)  # [batch, W, vocabulary]
        assert logits is not None
        if slots == list(range(first, last)):
            return logits
        return logits[[slot - first for slot in slots]]

    def _run(self, ids: _Mask, positions: _Mask, masks: dict[str, _Mask], *, head: bool) -> Tensor | None:
        """One forward, to the logits if `head`, else to the cells only."""
        device, dtype, lean = self.loaded.device, self.loaded.dtype, self.loaded.lean
        placed = {kind: torch.from_numpy(mask).view(dtype).to(device) for kind, mask in masks.items()}
        tokens, places = torch.from_numpy(ids).to(device), torch.from_numpy(positions).to(device)
        if lean is not None:
            hidden = lean.forward(tokens, places, placed, self.cells)
            return lean.logits(hidden) if head else None
        module = self._model if head else self._body
        output = module(
            input_ids=tokens,
            attention_mask=placed if len(placed) > 1 else next(iter(placed.values())),
            position_ids=places,
            past_key_values=self.cells,
            use_cache=True,
        )
        return output.logits if head else None

    def _reserve(self, slot: int, cells: int) -> int:
        """Make room for a slot's first `cells` cells. Returns the attended length that covers them."""
        attended = round_up(cells, self.block)
        if attended > self.cells.cells_max:
            room = self.cells.cells_max
            raise InputError("max_model_len", self.context, f"{cells} cells are needed, there are {room}")
        self.cells.reserve(self.open_slots, attended, self.block)
        self._used[slot] = max(self._used[slot], cells)
        return attended

    # -- facts -----------------------------------------------------------------------------------

    @property
    def bytes_total(self) -> int:
        """Bytes that the cells take now; they grow up to `cells_bytes(...)`."""
        return self.cells.bytes_total

    def describe(self) -> str:
        """One line on the sizes, for the start-up print."""
        full = self.loaded.cells_bytes(self.slots_max, self.cells.cells_max)
        return (
            f"{self.slots_max} slots of {self.context} positions, {self.cells.cells_max} cells in blocks of "
            f"{self.block}: {full / 2**20:.1f} MiB when full"
        )


def round_up(count: int, multiple: int) -> int:
    """The least multiple of `multiple` that is at least `count`."""
    return -(-count // multiple) * multiple


def _highest_cell(group: Rows) -> int:
    own = max(max(path) for path in group.ancestors)
    return max(own, group.seen.stop - 1)


def _show(mask: _Mask, group: Rows, window: int | None) -> None:
    """Open what each row of a group sees, in the [W, attended] mask of its slot."""
    count, seen = len(group.tokens), group.seen
    mask[count:, 0] = 0
    if window is None:
        mask[:count, seen.start : seen.stop] = 0
        paths = group.ancestors
    else:
        for row, position in enumerate(group.positions):
            mask[row, seen.start + max(0, position - window + 1) : seen.stop] = 0
        paths = [path[-window:] for path in group.ancestors]
    rows = [row for row, path in enumerate(paths) for _ in path]
    mask[rows, [cell for path in paths for cell in path]] = 0
