"""KV cells: the cache that transformers' model code writes and reads, laid out for trees and rollback.

Laws:
1. A cell is written by exactly the row that was assigned to it, and nothing else ever changes it but
   `move` and `copy_cells`. Rolling back therefore frees cells and moves nothing.
2. Layers see views, never gathered copies: the slots of a pass are neighbours, the attended cells a prefix.
3. Every attended cell is finite: cells start as zeros, and padding rows write behind the attended range.
   (A masked cell still takes part in the product with weight 0, and 0 times NaN is NaN.)
4. Slots times their cells, scratch counted, never exceed `cells_total`; while they grow, one layer's keys or
   values exist twice.
"""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import Cache

SCRATCH_CELLS = 8  # one is written by all padding rows; eight keep every slot's row aligned

Indices = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(slots=True)
class _Bank:
    """One layer's cells on that layer's device."""

    keys: Tensor  # [slots, kv_heads, cells, head_dim]
    values: Tensor  # [slots, kv_heads, cells, head_dim]

    def tensors(self) -> tuple[Tensor, Tensor]:
        return self.keys, self.values


class Cells(Cache):
    """A `transformers.Cache` of cells, [slots, kv_heads, cells, head_dim] per layer, on the layer's device.

    A head's cells lie together: attention reads them head by head, which takes two thirds to three quarters
    of the time on a CPU whose caches do not hold them. All rows of a pass are written by one copy along one
    index. Layers are discovered by their first `update`, so any head shape and any placement of layers works.
    Capacity grows by `reserve`; a long context takes no memory before it is used.

    Args:
        slots_max: most slots that will ever be reserved.
        cells_max: most cells of one slot, scratch not counted.
        cells_total: most cells of all slots together, scratch counted; None: as many as the other two allow.
    """

    def __init__(self, slots_max: int, cells_max: int, cells_total: int | None = None) -> None:
        super().__init__(layers=[])
        self.slots_max = slots_max
        self.cells_max = cells_max
        self.cells_total = full_cells(slots_max, cells_max) if cells_total is None else cells_total
        self.slots = 0
        self.cells = 0
        self._banks: dict[int, _Bank] = {}
        self._batch = range(0)
        self._attended = 0
        self._slot_of: Indices = np.zeros(0, np.int64)  # of each row of the pass
        self._cell_of: Indices = np.zeros(0, np.int64)
        self._places: dict[tuple[torch.device, int], Tensor] = {}  # of the rows' heads, by number of heads

    # -- what transformers asks for --------------------------------------------------------------

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Write one layer's rows into their cells and return the attended views.

        Args:
            key_states, value_states: [batch, kv_heads, rows, head_dim] of the pass begun last.
            layer_idx: which layer.

        Returns:
            Keys and values, [batch, kv_heads, attended, head_dim] views.
        """
        keys, values = self.write(key_states.transpose(1, 2), value_states.transpose(1, 2), layer_idx)
        return keys, values

    def write(self, keys: Tensor, values: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        """Do the same for [..., kv_heads, head_dim] keys and values of all rows in order."""
        bank = self._banks.get(layer)
        if bank is None:
            bank = self._banks[layer] = _Bank(self._zeros(keys), self._zeros(values))
        heads = keys.shape[-2]
        places = self._places.get((keys.device, heads))
        if places is None:
            first = self._slot_of[:, None] * heads + np.arange(heads)  # [rows, heads]
            found = first * (self.cells + SCRATCH_CELLS) + self._cell_of[:, None]
            places = self._places[keys.device, heads] = torch.from_numpy(found.reshape(-1)).to(keys.device)
        slots = slice(self._batch.start, self._batch.stop)
        views = []
        for cells, rows in ((bank.keys, keys), (bank.values, values)):
            width = cells.shape[-1]
            cells.view(-1, width).index_copy_(0, places, rows.reshape(-1, width))
            views.append(cells[slots, :, : self._attended])
        return views[0], views[1]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Zero: masks and positions are always given, so no model code derives them from a length."""
        return 0

    def __len__(self) -> int:
        """Number of layers seen so far."""
        return len(self._banks)

    # -- what the runner asks for ----------------------------------------------------------------

    @property
    def scratch(self) -> int:
        """The cell that padding rows write to; behind every attended range."""
        return self.cells

    @property
    def layers_written(self) -> int:
        """How many layers ever wrote a cell; zero after a pass means that the model ignores the cache."""
        return len(self._banks)

    @property
    def bytes_total(self) -> int:
        """Bytes that are allocated now."""
        return sum(t.numel() * t.element_size() for bank in self._banks.values() for t in bank.tensors())

    def can_hold(self, slots: int, cells: int) -> bool:
        """Whether there may be so many slots of so many cells."""
        within = slots <= self.slots_max and cells <= self.cells_max
        return within and full_cells(slots, cells) <= self.cells_total

    def reserve(self, slots: int, cells: int, block: int) -> None:
        """Make room for the first `slots` slots with `cells` cells each, in blocks; contents of these stay.

        Growing to the double of the slots, or by a quarter of the cells, keeps the copying linear in the
        final length. Where that is more than there may be, what was not asked for is given up.

        Args:
            cells: a multiple of the block, or all; no open slot holds more.

        Raises:
            ValueError: there may not be so many.
        """
        if slots <= self.slots and cells <= self.cells:
            return
        if not self.can_hold(slots, cells):
            raise ValueError(f"{slots} slots of {cells} cells are more than {self.cells_total} cells in all")
        more_slots, more_cells = self.slots, self.cells
        if slots > self.slots:
            more_slots = max(slots, min(2 * self.slots, self.slots_max))
        if cells > self.cells:
            more_cells = max(cells, min(-(-self.cells * 5 // 4 // block) * block, self.cells_max))
        shapes = itertools.product((slots, more_slots), (cells, more_cells))
        allowed = (shape for shape in shapes if self.can_hold(*shape))
        self.slots, self.cells = max(allowed, key=lambda shape: full_cells(*shape))
        for bank in self._banks.values():  # one tensor at a time: the peak is one layer's above the total
            bank.keys = self._resized(bank.keys)
            bank.values = self._resized(bank.values)

    def begin(self, batch: range, slots: Indices, cells: Indices, attended: int) -> None:
        """Say where the next forward writes and what it attends to.

        Args:
            batch: the slots that are attended to, neighbours, one batch row each.
            slots, cells: [rows] where each row of the pass writes.
            attended: length of the attended prefix, in cells.
        """
        self._batch, self._attended = batch, attended
        self._slot_of, self._cell_of = slots, cells
        self._places.clear()

    def move(self, slot: int, sources: list[int], destinations: list[int]) -> None:
        """Copy a few cells of one slot, all read before any is written."""
        index: dict[torch.device, tuple[Tensor, Tensor]] = {}
        pair = torch.tensor((sources, destinations))
        for bank in self._banks.values():
            device = bank.keys.device
            if device not in index:
                placed = pair.to(device)
                index[device] = placed[0], placed[1]
            read, write = index[device]
            for tensor in bank.tensors():
                cells = tensor[slot]
                cells.index_copy_(1, write, cells.index_select(1, read))

    def copy_cells(self, source: int, destination: int, cells: range) -> None:
        """Copy some cells of one slot over those of another."""
        part = slice(cells.start, cells.stop)
        for bank in self._banks.values():
            for tensor in bank.tensors():
                tensor[destination, :, part] = tensor[source, :, part]

    def snapshot(self, slot: int, cells: range) -> list[tuple[Tensor, Tensor]]:
        """Copies of some cells of one slot, per layer [kv_heads, cells, head_dim] keys and values."""
        part = slice(cells.start, cells.stop)
        return [tuple(t[slot, :, part].clone() for t in bank.tensors()) for bank in self._banks.values()]  # type: ignore[misc]

    def _zeros(self, like: Tensor) -> Tensor:
        heads, width = like.shape[-2:]
        return like.new_zeros((self.slots, heads, self.cells + SCRATCH_CELLS, width))

    def _resized(self, old: Tensor) -> Tensor:
        new = self._zeros(old.transpose(1, 2))
        slots = min(old.shape[0], new.shape[0])
        cells = min(old.shape[2], new.shape[2]) - SCRATCH_CELLS
        new[:slots, :, :cells] = old[:slots, :, :cells]
        return new


def full_cells(slots: int, cells: int) -> int:
    """How many cells so many slots of so many cells are, scratch counted."""
    return slots * (cells + SCRATCH_CELLS)
