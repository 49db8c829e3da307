"""Chunks of a prompt are as long as the stall allows, by what they took before."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amusd.models import selfcheck
from amusd.policies.prefilling import CHUNKS, PrefillPace


def costs(rows, cells):
    """A pass, in seconds: weights, rows, and what they attend to."""
    return 0.010 + rows * 0.0005 + cells * 1e-5


def learned(truth, stall=0.05, turns=60, cells=512):
    """A pace, and the chunks that it took while prompts came and others were decoded."""
    pace, taken = PrefillPace(stall, costs), []
    for _ in range(turns):
        rows = pace.rows(1000, cells, 0.0)
        pace.observe(rows, cells, truth(rows, cells))
        taken.append(rows)
    return pace, taken


def test_the_chunks_are_those_that_the_self_check_tries():
    assert set(CHUNKS) == set(selfcheck._CHUNKS)
    assert all(rows % 4 == 0 and rows >= 16 for rows in CHUNKS)


def test_nobody_waits_so_chunks_are_long():
    pace, _ = learned(lambda rows, cells: 10.0)
    assert pace.rows(1000, 512, None) == CHUNKS[-1]


@pytest.mark.parametrize("slowness", [0.1, 0.5, 1.0, 3.0])
def test_the_chunk_is_the_longest_within_the_stall_however_wrong_the_first_guess_was(slowness):
    def truth(rows, cells):
        return slowness * costs(rows, cells)

    within = [rows for rows in CHUNKS if truth(rows, 512) <= 0.05] or [CHUNKS[0]]
    _, taken = learned(truth)
    assert taken[-20:] == [max(within)] * 20


def test_long_chunks_that_are_dearer_than_foreseen_are_tried_rarely():
    def truth(rows, cells):
        return costs(rows, cells) * (4.0 if rows > 44 else 1.0)

    _, taken = learned(truth, turns=400)
    assert sum(rows > 44 for rows in taken[50:]) < 40


def test_a_single_slow_chunk_changes_little_and_a_slow_machine_everything():
    pace, taken = learned(costs)
    for rows in CHUNKS:
        pace.observe(rows, 512, costs(rows, 512))
    before = {rows: pace.seconds(rows, 512) for rows in CHUNKS}
    pace.observe(taken[-1], 512, 100.0)
    for rows in CHUNKS:
        assert 1.0 <= pace.seconds(rows, 512) / before[rows] <= (1.331 if rows == taken[-1] else 1.034)
    assert pace.seconds(taken[-1], 512) / before[taken[-1]] == pytest.approx(1.33)
    for _ in range(200):
        rows = pace.rows(1000, 512, 0.0)
        pace.observe(rows, 512, 10 * costs(rows, 512))
    assert pace.rows(1000, 512, 0.0) == CHUNKS[0]
    assert pace.seconds(100, 512) == pytest.approx(10 * costs(100, 512), rel=0.1)


@given(st.floats(0.0, 0.3), st.lists(st.integers(0, 600), min_size=1, max_size=9), st.floats(0.3, 3.0))
def test_the_chunks_between_two_passes_stay_within_the_stall_or_are_one(stall, prompts, slowness):
    pace, waited, since = PrefillPace(stall, lambda rows, cells: slowness * costs(rows, cells)), 0.0, []
    for prompt in prompts:
        left = prompt
        while left:
            rows = pace.rows(left, 512, waited)
            if rows is None:
                assert since, "a pass has to go first only where a chunk went before"
                assert waited + pace.seconds(min(left, CHUNKS[0]), 512) > stall, "there was time for more"
                waited, since = 0.0, []
                continue
            since.append(rows)
            waited += pace.seconds(rows, 512)
            assert waited <= stall or since == [min(left, CHUNKS[0])]
            assert 0 < rows <= left and rows <= CHUNKS[-1]
            left -= rows


def test_a_prompt_of_which_nothing_is_left_to_read_waits_for_nobody():
    pace = PrefillPace(0.05, costs)
    assert pace.rows(0, 512, 0.0) == pace.rows(0, 512, None) == 0


def test_the_end_of_a_prompt_is_read_at_once_where_there_is_time():
    pace = PrefillPace(1.1 * costs(147, 512), costs)
    assert pace.rows(147, 512, 0.0) == 147
    assert pace.rows(256, 512, 0.0) == 100


def test_the_end_of_a_prompt_teaches_the_sizes_next_to_it():
    pace = PrefillPace(0.05, costs)
    pace.observe(3, 512, 100.0)
    assert pace.seconds(24, 512) == costs(24, 512)
    for rows in CHUNKS:
        pace.observe(rows, 512, costs(rows, 512))
    for _ in range(200):
        pace.observe(150, 512, 3 * costs(150, 512))
    assert pace.seconds(150, 512) == pytest.approx(3 * costs(150, 512), rel=0.05)
