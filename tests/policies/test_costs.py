"""The cost curve: between, beyond and after what was measured."""

import pytest

from amusd.policies.costs import CostCurve


def test_costs_lie_on_lines_between_what_was_measured_and_beyond_it():
    curve = CostCurve({4: 10.0, 8: 12.0, 16: 20.0})
    assert [curve.seconds(1, width) for width in (1, 4, 5, 8, 12, 16, 20)] == [10, 10, 12, 12, 16, 20, 24]
    assert curve.seconds(3, 4) == 16.0, "requests share a pass: only the number of rows counts"


def test_a_single_row_is_a_row_where_products_allow_it():
    curve = CostCurve({1: 10.0, 4: 16.0}, rows_multiple=1)
    assert [curve.seconds(1, width) for width in (1, 2, 3, 4)] == [10, 12, 14, 16]


def test_a_noisy_measurement_does_not_make_more_rows_cheaper():
    curve = CostCurve({4: 10.0, 8: 9.0, 16: 12.0})
    assert curve.seconds(1, 8) == 10.0


def test_passes_that_get_slower_move_the_whole_curve_slowly():
    curve = CostCurve({4: 10.0, 16: 20.0})
    curve.observe(1, 4, 1000.0)
    assert curve.seconds(1, 4) == pytest.approx(10.5), "one outlier moves it by a twentieth"
    for _ in range(100):
        curve.observe(1, 4, 30.0)
    assert curve.seconds(1, 4) == pytest.approx(30.0, rel=0.01)
    assert curve.seconds(1, 16) == pytest.approx(60.0, rel=0.01)
    assert curve.to_dict()["4"] == pytest.approx(30.0, rel=0.01)


def test_with_nothing_measured_four_rows_are_free_and_twelve_more_cost_two_fifths():
    curve = CostCurve({})
    assert curve.seconds(1, 16) / curve.seconds(1, 1) == pytest.approx(1.396)
