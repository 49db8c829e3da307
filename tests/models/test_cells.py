"""Cells keep what open slots hold, and never grow beyond what there may be."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from amusd.errors import InputError, ModelError
from amusd.models import Runner
from amusd.models.cells import SCRATCH_CELLS, Cells, full_cells
from amusd.models.sizes import HEADROOM, cells_total
from tests.models.families import loaded_model, random_tokens

BLOCK = 4
HEADS = torch.tensor([0.0, 0.5])


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_banks_stay_within_the_total_and_keep_what_open_slots_hold(data):
    slots_max, blocks_max = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 8))
    least = full_cells(1, blocks_max * BLOCK)
    total = data.draw(st.integers(least, full_cells(slots_max, blocks_max * BLOCK)))
    cells = Cells(slots_max, blocks_max * BLOCK, total)
    written = {}  # slot -> how many cells it holds
    for step in range(data.draw(st.integers(1, 12))):
        slots = data.draw(st.integers(1, slots_max))
        count = data.draw(st.integers(1, blocks_max))
        written = {slot: held for slot, held in written.items() if slot < slots}
        asked = max([count * BLOCK, *(-(-held // BLOCK) * BLOCK for held in written.values())])
        if not cells.can_hold(slots, asked):
            continue
        cells.reserve(slots, asked, BLOCK)
        assert cells.slots >= slots and cells.cells >= asked
        assert full_cells(cells.slots, cells.cells) <= total
        slot = data.draw(st.integers(0, slots - 1))
        held = written.get(slot, 0)
        if held < asked:  # the slot's next cell holds its slot, its place and the head
            cells.begin(range(slot, slot + 1), np.array([slot]), np.array([held]), asked)
            value = (100.0 * slot + held + HEADS[:, None]).expand(1, 2, 2)  # one row
            cells.write(value, -value, 0)
            written[slot] = held + 1
        for slot, held in written.items():
            [(keys, values)] = cells.snapshot(slot, range(held))
            expected = (100.0 * slot + torch.arange(held) + HEADS[:, None])[..., None].expand(2, held, 2)
            assert torch.equal(keys, expected), step
            assert torch.equal(values, -expected)
        if cells.layers_written:
            assert cells.bytes_total == 2 * 2 * 2 * 4 * full_cells(cells.slots, cells.cells)


def test_cells_grow_by_more_than_asked_where_there_is_room():
    cells = Cells(8, 64)
    cells.reserve(2, 32, BLOCK)
    cells.reserve(3, 32, BLOCK)
    assert (cells.slots, cells.cells) == (4, 32)
    cells.reserve(3, 36, BLOCK)
    assert (cells.slots, cells.cells) == (4, 40)


def test_what_nobody_asks_for_is_given_up_where_there_is_no_room():
    cells = Cells(8, 64, cells_total=2 * (64 + SCRATCH_CELLS))
    cells.reserve(3, 32, BLOCK)
    cells.reserve(2, 64, BLOCK)
    assert (cells.slots, cells.cells) == (2, 64)
    cells.reserve(3, 32, BLOCK)
    assert (cells.slots, cells.cells) == (3, 32)


def test_a_short_request_that_opens_another_slot_takes_no_cell_from_a_long_one():
    total = full_cells(8, 32)  # eight short slots are more cells than five long ones, which are enough
    runner = Runner(loaded_model("llama"), slots=8, context=64, block=16, cells_total=total)
    for slot, length in enumerate((40, 10, 10, 10)):
        runner.open()
        runner.prefill(slot, random_tokens(length, seed=slot), 0, 0)
    before = runner.cells.snapshot(0, range(40))
    runner.prefill(runner.open(), random_tokens(20, seed=9), 0, 0)
    for ours, theirs in zip(runner.cells.snapshot(0, range(40)), before, strict=True):
        assert all(map(torch.equal, ours, theirs))


def test_there_are_as_many_cells_as_were_wanted_or_given_or_fit_but_those_of_one_request():
    free = int(1000 * 10 * HEADROOM)  # bytes for 1000 cells of ten
    assert cells_total(900, 300, 10, free, None) == 900
    assert cells_total(4000, 300, 10, free, None) == 1000
    assert cells_total(4000, 300, 10, free, 5009) == 500
    assert cells_total(400, 300, 10, free, 5009) == 400
    with pytest.raises(ModelError, match=r"the cells of one request take .* lower max_model_len"):
        cells_total(4000, 1001, 10, free, None)
    with pytest.raises(InputError, match="kv_cache_memory_bytes: 2999: one request takes 3000 bytes"):
        cells_total(4000, 300, 10, free, 2999)
    with pytest.raises(InputError, match=r"kv_cache_memory_bytes: 20000: .* free; give less"):
        cells_total(4000, 300, 10, free, 20000)
