"""What is timed when a model is ready."""

import pytest

from amusd.models import Runner, timing
from amusd.models.timing import time_passes, time_width
from tests.models.families import loaded_model


@pytest.mark.parametrize(
    ("context", "rows_max", "widths"),
    [(200, 8, [4, 8]), (200, 64, [*range(4, 33, 4), 64]), (40, 64, [4, 8, 12, 16, 20]), (6, 64, [4])],
)
def test_widths_are_timed_as_far_as_asked_and_as_half_of_the_context_has_positions(context, rows_max, widths):
    loaded = loaded_model("gpt2")  # which no other test makes lean
    assert loaded.rows_multiple == 4
    seconds = time_passes(Runner(loaded, slots=2, context=context, block=64), rows_max)
    assert list(seconds) == widths
    assert min(seconds.values()) > 0


@pytest.mark.parametrize("slots", [2, 4, 40])
def test_what_the_widest_costs_the_others_is_what_tells_two_passes_of_as_many_rows_apart(slots, monkeypatch):
    timed = []

    def timing_of(runner, groups):
        assert runner.open_slots == len(groups) == min(slots, 8)
        timed.append([len(group.tokens) for group in groups])
        noise = 1.0 if len(timed) < 4 else 0.0
        return 3.0 + 0.5 * max(timed[-1]) + noise

    monkeypatch.setattr(timing, "_time", timing_of)
    found = time_width(Runner(loaded_model("llama"), slots=slots, context=200, block=64))
    assert found == pytest.approx(0.5 / (min(slots, 8) - 1) / 128)
    assert len({sum(widths) for widths in timed}) == 1
    assert {max(widths) for widths in timed} == {8, -(-(7 + min(slots, 8)) // min(slots, 8))}


@pytest.mark.parametrize(("slots", "context"), [(1, 200), (2, 2), (3, 1)])
def test_nothing_is_told_apart_of_one_request_or_where_no_row_is_too_many(slots, context):
    assert time_width(Runner(loaded_model("llama"), slots=slots, context=context, block=64)) == 0


def test_what_noise_hides_is_little_but_not_nothing(monkeypatch):
    monkeypatch.setattr(timing, "_time", lambda _, groups: 10.0 / max(len(each.tokens) for each in groups))
    found = time_width(Runner(loaded_model("llama"), slots=8, context=200, block=64))
    narrow = 10.0 / 2
    assert found == pytest.approx(0.01 * narrow / (7 * 128 * 6))


def test_the_passes_are_real_ones():
    assert 0 < time_width(Runner(loaded_model("llama"), slots=3, context=100, block=64)) < 1
