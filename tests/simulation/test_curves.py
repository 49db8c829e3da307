"""Costs between, below and above what was measured."""

import pytest
from pydantic import ValidationError

from amusd.simulation.curves import CostCurve


def curve(*points: dict, rows_step: int = 1) -> CostCurve:
    return CostCurve(source="made up", points=list(points), rows_step=rows_step)


ROWS = ({"rows": 4, "ms": 10.0}, {"rows": 8, "ms": 12.0}, {"rows": 16, "ms": 20.0})


@pytest.mark.parametrize(
    ("rows", "ms"), [(1, 10.0), (4, 10.0), (6, 11.0), (8, 12.0), (12, 16.0), (16, 20.0), (24, 28.0)]
)
def test_a_cost_is_on_the_line_between_its_neighbours(rows, ms):
    assert curve(*ROWS).ms(rows) == pytest.approx(ms)


def test_a_cost_never_falls_beyond_the_last_point():
    assert curve({"rows": 1, "ms": 5.0}, {"rows": 4, "ms": 4.0}).ms(100) == 4.0
    assert curve({"rows": 1, "ms": 5.0}).ms(100) == 5.0


def test_rows_are_padded_to_a_step():
    padded = curve(*ROWS, rows_step=4)
    assert [padded.ms(rows) for rows in (1, 4, 5, 8)] == [10.0, 10.0, 12.0, 12.0]


def test_a_curve_of_one_batch_size_counts_all_rows():
    assert curve(*ROWS).ms(4, batch=2) == curve(*ROWS).ms(8)
    assert curve(*ROWS, rows_step=4).ms(1, batch=2) == curve(*ROWS).ms(8)


def test_a_curve_of_several_batch_sizes_is_read_between_them():
    measured = curve(*ROWS, {"rows": 4, "ms": 11.0, "batch": 3}, {"rows": 8, "ms": 15.0, "batch": 3})
    assert measured.ms(8, batch=1) == 12.0
    assert measured.ms(8, batch=2) == pytest.approx(13.5)
    assert measured.ms(6, batch=3) == pytest.approx(13.0)


def test_a_longer_text_costs_what_was_measured_for_it():
    measured = curve({"rows": 4, "ms": 10.0, "length": 512}, {"rows": 4, "ms": 14.0, "length": 1024})
    assert [measured.ms(4, length=length) for length in (10, 512, 768, 1024)] == [10.0, 10.0, 12.0, 14.0]


def test_a_scaled_curve_says_so():
    scaled = curve(*ROWS).scaled(0.5)
    assert scaled.ms(8) == 6.0
    assert "times 0.5" in scaled.source


@pytest.mark.parametrize("wrong", [{"points": []}, {"source": " "}, {"points": [{"rows": 0, "ms": 1.0}]}])
def test_a_curve_needs_a_source_and_points(wrong):
    with pytest.raises(ValidationError):
        CostCurve(**{"source": "made up", "points": [{"rows": 1, "ms": 1.0}], **wrong})
