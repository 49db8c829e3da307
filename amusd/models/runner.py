"""The runner: many requests, each with its own tree, through one model in one pass.

Laws (with them the bits of a row depend on its own request alone; `selfcheck` tests it on a device):
1. Products get the rows of all requests together, in a multiple of the model's `rows_multiple` (4 unless its
   products are known to give the same bits at every number of rows). Attention gets them as [B, W], one batch
   row per slot, W a multiple of 4. A model that runs transformers' code gets [B, W] everywhere.
2. The attended length is a multiple of `block`, in prefill as well.
3. A padding row writes to a scratch cell outside the attended range, sees exactly one valid cell and is at
   position 0, so that no row is NaN and no position table overruns.
4. Plain decoding is the same pass with an empty tree.
Source: design, sections 4 and 5 (docs/design.md).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from typing import Any

import numpy as np
import torch
from torch import Tensor

from amusd.errors import InputError
from amusd.models.cells import Cells, full_cells
from amusd.models.lean import ROWS_MULTIPLE
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
_Indices = np.ndarray[Any, np.dtype[np.int64]]


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
        cells_total: most cells of all slots together (see `Cells`); None for slots that may all be full.

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
        cells_total: int | None = None,
    ) -> None:
        if loaded.context is not None and context > loaded.context:
            remedy = f"the {loaded.role} {loaded.name} holds {loaded.context} positions; give at most that"
            raise InputError("max_model_len", context, remedy)
        self.loaded = loaded
        self.slots_max = slots
        self.context = context
        self.block = block
        self.cells = Cells(slots, round_up(context + spare_cells, block), cells_total)
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

    def can_hold(self, slots: int, cells: int) -> bool:
        """Whether so many slots may be open while the longest of them has so many cells."""
        return self.cells.can_hold(slots, round_up(cells, self.block))

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
        stop = origin + start + count
        layout = _Layout(range(slot, slot + 1), [slot], [count], self.loaded)
        attended = self._reserve(slot, stop)
        masks = {}
        for kind, window in self.loaded.windows.items():
            mask = np.full((1, 1, layout.width, attended), self._hidden, self._raw)
            mask[0, 0, count:, 0] = 0
            row = np.arange(count)[:, None] + (origin + start)  # [count, 1] the row's own cell
            cell = np.arange(origin, stop)[None, :]  # [1, cells]
            visible = cell <= row
            if window is not None:
                visible &= cell > row - window
            mask[0, 0, :count, origin:stop][visible] = 0
            masks[kind] = mask
        ids, positions = layout.fill(tokens), layout.fill(range(start, start + count))
        self.cells.begin(
            layout.slots, layout.slot_of, layout.fill(range(stop - count, stop), self.cells.scratch), attended
        )
        logits = self._run(layout, ids, positions, masks, head=head)
        return None if logits is None else logits[:count]

    @torch.inference_mode()
    def forward(self, groups: Sequence[Rows]) -> list[Tensor]:
        """One pass over the rows of all groups, at most one group per slot.

        Returns:
            of each group [rows, vocabulary] logits in the model's dtype on its last device.
        """
        members = [group.slot for group in groups]
        slots = range(min(members), max(members) + 1)
        layout = _Layout(slots, members, [len(group.tokens) for group in groups], self.loaded)
        attended = max(self._reserve(group.slot, _highest_cell(group) + 1) for group in groups)
        shape = len(slots), 1, layout.width, attended
        masks = {kind: np.full(shape, self._hidden, self._raw) for kind in self.loaded.windows}
        for kind, window in self.loaded.windows.items():
            for group in groups:
                _show(masks[kind][group.slot - slots.start, 0], group, window)
        if len(slots) > len(groups):
            idle = [slot - slots.start for slot in set(slots).difference(members)]
            for mask in masks.values():
                mask[idle, 0, :, 0] = 0
        ids = layout.fill([token for group in groups for token in group.tokens])
        positions = layout.fill([position for group in groups for position in group.positions])
        cells = layout.fill([cell for group in groups for cell in group.cells], self.cells.scratch)
        self.cells.begin(slots, layout.slot_of, cells, attended)
        logits = self._run(layout, ids, positions, masks, head=True)  # [rows, vocabulary]
        assert logits is not None
        return layout.parts(logits)

    def _run(
        self, layout: "_Layout", ids: _Indices, positions: _Indices, masks: dict[str, _Mask], *, head: bool
    ) -> Tensor | None:
        """One forward, to [rows, vocabulary] logits if `head`, else to the cells only."""
        device, dtype, lean = self.loaded.device, self.loaded.dtype, self.loaded.lean
        placed = {
            kind: torch.from_numpy(layout.spread(mask)).view(dtype).to(device) for kind, mask in masks.items()
        }
        tokens, at = torch.from_numpy(ids).to(device), torch.from_numpy(positions).to(device)
        if lean is not None:
            found = layout.places()
            places = None if found is None else torch.from_numpy(found).to(device)
            return lean.forward(tokens, at, placed, self.cells, places, layout.count, head=head)
        module = self._model if head else self._body
        output = module(
            input_ids=tokens.view(-1, layout.width),
            attention_mask=placed if len(placed) > 1 else next(iter(placed.values())),
            position_ids=at.view(-1, layout.width),
            past_key_values=self.cells,
            use_cache=True,
        )
        return output.logits.flatten(0, 1) if head else None

    def _reserve(self, slot: int, cells: int) -> int:
        """Make room for a slot's first `cells` cells. Returns the attended length that covers them."""
        attended = round_up(cells, self.block)
        if attended > self.cells.cells_max:
            room = self.cells.cells_max
            raise InputError("max_model_len", self.context, f"{cells} cells are needed, there are {room}")
        self._used[slot] = max(self._used[slot], cells)
        if self.open_slots > self.cells.slots or attended > self.cells.cells:
            longest = round_up(max(self._used), self.block)  # of the slots whose contents must stay
            self.cells.reserve(self.open_slots, longest, self.block)
        return attended

    # -- facts -----------------------------------------------------------------------------------

    @property
    def bytes_total(self) -> int:
        """Bytes that the cells take now; they grow up to `cells_bytes(...)`."""
        return self.cells.bytes_total

    def describe(self) -> str:
        """One line on the sizes, for the start-up print."""
        total = min(self.cells.cells_total, full_cells(self.slots_max, self.cells.cells_max))
        return (
            f"{self.slots_max} slots of {self.context} positions, {self.cells.cells_max} cells in blocks of "
            f"{self.block}: {self.loaded.cells_bytes(1, total) / 2**20:.1f} MiB when full"
        )


class _Layout:
    """Where the rows of a pass lie: in products one behind the other, in attention slot by slot.

    Args:
        slots: of the pass, neighbours.
        members: of these the slot of each group of rows, in the order in which products have them.
        counts: rows of each group.

    Attributes:
        width: rows of a slot in attention, those of one head.
        copies: query heads whose rows attention has as further rows of one head.
        wide: rows of a slot in attention.
        slot_of: [rows of a product] whose each is.
    """

    def __init__(
        self, slots: range, members: Sequence[int], counts: Sequence[int], loaded: LoadedModel
    ) -> None:
        self.slots = slots
        self.count = sum(counts)
        if loaded.lean is None:
            self.copies = 1
            self.width = self.wide = round_up(max(counts), loaded.rows_multiple)
            begins = [(slot - slots.start) * self.width for slot in members]
            self.slot_of = np.repeat(np.arange(slots.start, slots.stop), self.width)
        else:
            self.copies, self.width = loaded.lean.group, max(counts)
            self.wide = round_up(self.width * self.copies, ROWS_MULTIPLE)
            begins = [end - count for end, count in zip(accumulate(counts), counts, strict=True)]
            self.slot_of = np.full(round_up(self.count, loaded.rows_multiple), slots.start)
            self.slot_of[: self.count] = np.repeat(members, counts)
        self._groups = [range(begin, begin + count) for begin, count in zip(begins, counts, strict=True)]
        self._index = np.fromiter(chain.from_iterable(self._groups), np.int64)
        self._rows = np.fromiter(chain.from_iterable(map(range, counts)), np.int64)

    def fill(self, values: Iterable[int], padding: int = 0) -> _Indices:
        """[rows of a product] a value for each row of the groups, in their order, and `padding` elsewhere."""
        filled = np.full(len(self.slot_of), padding, np.int64)
        filled[self._index] = np.fromiter(values, np.int64)
        return filled

    def places(self) -> _Indices | None:
        """[rows of a product x copies] where attention has them among slots x wide, 0 for padding.

        None where they are all of these in order.
        """
        first = (self.slot_of[: self.count] - self.slots.start) * self.wide + self._rows * self.copies
        places = np.zeros((len(self.slot_of), self.copies), np.int64)
        places[: self.count] = first[:, None] + np.arange(self.copies)
        in_order = places.size == self.count * self.copies == len(self.slots) * self.wide
        return None if in_order and (np.diff(first) > 0).all() else places.reshape(-1)

    def spread(self, mask: _Mask) -> _Mask:
        """[slots, 1, width, attended] for each row of attention; padding sees what the last row sees."""
        if self.wide == self.width:
            return mask
        row_of = np.minimum(np.arange(self.wide) // self.copies, self.width - 1)
        return np.take(mask, row_of, axis=2)

    def parts(self, rows: Tensor) -> list[Tensor]:
        """Views of each group's part of [rows of a product, ...]."""
        return [rows[group.start : group.stop] for group in self._groups]


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
