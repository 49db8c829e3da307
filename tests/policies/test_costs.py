"""The cost curve: between, beyond and after what was measured, and what it learns on a noisy machine."""

from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from amusd.policies.costs import CELL_COST, REQUEST_COST, CostCurve

MEASURED = {4: 10.0, 8: 12.0, 16: 20.0}
SHAPES = [(requests, width, cells) for requests in (1, 2, 6) for width in (1, 5, 8) for cells in (512, 2048)]


def foreseen(curve):
    return [curve.seconds(*shape) for shape in SHAPES]


def test_costs_lie_on_lines_between_what_was_measured_and_beyond_it():
    curve = CostCurve(MEASURED)
    assert [curve.seconds(1, width) for width in (1, 4, 5, 8, 12, 16, 20)] == [10, 10, 12, 12, 16, 20, 24]


def test_rows_beyond_what_was_measured_get_knots_on_its_line():
    curve, plain = CostCurve(MEASURED, rows_max=100), CostCurve(MEASURED)
    assert curve.to_dict()["rows"] == [4, 8, 16, 32, 64, 128]
    for width in (16, 24, 40, 100):
        assert curve.seconds(1, width) == pytest.approx(plain.seconds(1, width))


def test_a_single_row_is_a_row_where_products_allow_it():
    curve = CostCurve({1: 10.0, 4: 16.0}, rows_multiple=1)
    assert [curve.seconds(1, width) for width in (1, 2, 3, 4)] == [10, 12, 14, 16]


def test_a_noisy_measurement_does_not_make_more_rows_cheaper():
    curve = CostCurve({4: 10.0, 8: 9.0, 16: 12.0})
    assert curve.seconds(1, 8) == 10.0


def test_with_nothing_measured_four_rows_are_free_and_twelve_more_cost_two_fifths():
    curve = CostCurve({})
    assert curve.seconds(1, 16) / curve.seconds(1, 1) == pytest.approx(1.396)


def test_passes_that_get_slower_move_the_whole_curve_slowly():
    curve = CostCurve({4: 10.0, 16: 20.0})
    curve.observe(4, 1, 1000.0)
    assert curve.seconds(1, 4) == pytest.approx(10.25), "one outlier moves it by a fortieth"
    for _ in range(200):
        curve.observe(4, 1, 30.0)
        curve.observe(16, 1, 60.0)
    assert curve.seconds(1, 4) == pytest.approx(30.0, rel=0.02)
    assert curve.seconds(1, 8) == pytest.approx(40.0, rel=0.02), "and what lies between"


def test_a_shape_that_was_measured_wrongly_is_put_right():
    """A start-up beside a busy neighbour may say that more rows cost twice what they do."""
    curve = CostCurve({4: 10.0, 8: 24.0})
    for _ in range(150):
        curve.observe(4, 1, 10.0)
        curve.observe(8, 1, 12.0)
    assert curve.seconds(1, 4) == pytest.approx(10.0, rel=0.03)
    assert curve.seconds(1, 8) == pytest.approx(12.0, rel=0.03)


def test_rows_that_were_slow_once_are_forgotten_when_no_pass_has_them_any_more():
    """Otherwise passes beside a busy neighbour ended speculation for good."""
    curve = CostCurve(MEASURED)
    for _ in range(100):
        curve.observe(4, 1, 20.0)
        curve.observe(8, 1, 60.0)
    slow = curve.seconds(1, 8) / curve.seconds(1, 4)
    assert slow == pytest.approx(3.0, rel=0.05)
    for _ in range(100):
        curve.observe(4, 1, 10.0)
    assert curve.seconds(1, 8) / curve.seconds(1, 4) > 0.9 * slow
    for _ in range(200):
        curve.observe(4, 1, 10.0)
    assert curve.seconds(1, 8) == pytest.approx(12.0, rel=0.05)
    assert curve.seconds(1, 16) == pytest.approx(20.0, rel=0.05)


def test_what_is_forgotten_does_not_move_what_passes_have():
    """Measured flat where passes show a slope: the knots before theirs must not lift them."""
    curve = CostCurve({12: 99.0, 16: 100.0, 32: 110.0})
    for _ in range(600):
        curve.observe(16, 1, 100.0)
        curve.observe(32, 1, 300.0)
    for _ in range(600):
        curve.observe(24, 1, 200.0)
    assert curve.seconds(1, 16) == pytest.approx(100.0, rel=0.05)
    assert curve.seconds(1, 32) == pytest.approx(300.0, rel=0.05)
    assert curve.seconds(1, 12) <= curve.seconds(1, 16)


def test_more_rows_never_get_cheaper_than_fewer():
    curve = CostCurve(MEASURED)
    for _ in range(50):
        curve.observe(8, 1, 1.0)
    assert curve.seconds(1, 4) <= curve.seconds(1, 8) < curve.seconds(1, 16)


@pytest.mark.parametrize(
    ("together", "multiple", "rows", "more"),
    [(True, 4, 8, 12), (True, 1, 8, 12), (False, 4, 24, 36), (False, 1, 15, 27)],
)
def test_rows_lie_together_or_all_are_padded_to_the_widest(together, multiple, rows, more):
    curve = CostCurve(MEASURED, multiple, together=together)
    assert curve.rows([1, 2, 5]) == rows
    assert curve.rows([1, 2, 5], more=4) == more
    assert curve.seconds(3, 5) == curve.of_rows(curve.rows([5, 5, 5]), 3)


def test_rows_are_padded_whoever_counts_them_and_every_further_request_costs_something_besides():
    curve = CostCurve(MEASURED, together=True)
    assert [curve.padded(rows) for rows in (1, 4, 5)] == [4, 4, 8]
    assert curve.of_rows(5, 1) == curve.of_rows(8, 1) == 12.0
    assert curve.of_rows(8, 3) == pytest.approx(12.0 + 2 * REQUEST_COST * 10.0)
    assert curve.of_rows(8, 3, cells=100) == pytest.approx(curve.of_rows(8, 3) + 300 * CELL_COST * 10.0)


def test_the_widest_costs_all_others_where_rows_lie_together():
    together, padded = (CostCurve(MEASURED, together=each, per_wide=0.01) for each in (True, False))
    for curve, wider in ((together, 0.01 * 2 * 100), (padded, 0.0)):
        narrow = curve.of_rows(8, 3, cells=100)
        assert curve.of_rows(8, 3, cells=100, widest=4) == pytest.approx(narrow + 3 * wider)
        assert curve.of_rows(8, 1, cells=100, widest=8) == curve.of_rows(8, 1, cells=100)
        curve.observe(8, 3, narrow, cells=100)
        assert curve.of_wider(3) == pytest.approx(wider)
        assert curve.of_wider(1) == 0
    assert together.of_widths([1, 2, 5], more=4) == together.of_rows(12, 3, widest=5)


@pytest.mark.parametrize("known", [0.002, 0.01, 0.05])
def test_what_the_widest_costs_is_learned(known):
    curve = CostCurve({4: 10.0, 64: 70.0}, together=True, per_wide=known)
    true, draws = CostCurve({4: 10.0, 64: 70.0}, together=True, per_wide=0.01), Random(1)
    for _ in range(1000):
        requests, widest = draws.randint(2, 8), draws.randint(1, 8)
        shape = requests - 1 + widest, requests
        curve.observe(*shape, true.of_rows(*shape, 100, widest) * draws.gauss(1, 0.05), 100, widest)
    assert curve.of_wider(8) == pytest.approx(7 * 100 * 0.01, rel=0.3)


def test_what_is_attended_to_is_that_of_the_last_pass_unless_it_is_said():
    curve = CostCurve(MEASURED)
    assert curve.seconds(2, 4) == curve.seconds(2, 4, cells=0)
    curve.observe(4, 1, 10.0, cells=1024)
    assert curve.seconds(2, 4) == curve.seconds(2, 4, cells=1024) > curve.seconds(2, 4, cells=512)


@settings(max_examples=20, derandomize=True)
@given(
    steps=st.tuples(st.floats(1, 3), st.floats(1, 3)),
    per_request=st.floats(0.05, 1),
    per_kilocell=st.floats(0.05, 1),
    misled=st.tuples(*[st.floats(0.5, 2)] * 3),
    seed=st.integers(0, 2**32),
)
@example(steps=(1, 1), per_request=0.05, per_kilocell=0.05, misled=(2, 2, 2), seed=0)
def test_it_learns_a_machine_although_a_tenth_of_its_passes_take_ten_times_as_long(
    steps, per_request, per_kilocell, misled, seed
):
    """From a start-up that was wrong by up to a factor of two, and with 5 % of noise besides."""
    knots = {4: 10.0, 8: 10.0 * steps[0], 16: 10.0 * steps[0] * steps[1]}
    rows_only, draws = CostCurve(knots), Random(seed)

    def true(requests, width, cells):
        rows = rows_only.seconds(1, requests * rows_only.padded(width), 0)
        return rows + per_request * (requests - 1) + per_kilocell * requests * cells / 1024

    curve = CostCurve({rows: knots[rows] * factor for rows, factor in zip(knots, misled, strict=True)}, 4, 48)
    for _ in range(1500):
        requests, width, cells = shape = draws.choice(SHAPES)
        noise = draws.gauss(1, 0.05) * (10 if draws.random() < 0.1 else 1)
        curve.observe(curve.rows([width] * requests), requests, true(*shape) * noise, cells)
    for shape in SHAPES:
        assert curve.seconds(*shape) == pytest.approx(true(*shape), rel=0.4), shape


@given(
    before=st.lists(
        st.tuples(st.sampled_from(SHAPES), st.floats(1, 100), st.sampled_from([1, 120])), max_size=12
    ),
    last=st.sampled_from(SHAPES),
    seconds=st.floats(1e-3, 1e6),
    together=st.booleans(),
)
def test_no_pass_moves_anything_by_more_than_a_thirtieth_and_more_never_costs_less(
    before, last, seconds, together
):
    curve = CostCurve(MEASURED, rows_max=48, together=together, per_wide=1e-4)
    for (requests, width, cells), taken, times in before:
        for _ in range(times):
            curve.observe(curve.rows([width] * requests), requests, taken, cells, width)
    earlier = foreseen(curve)
    requests, width, cells = last
    curve.observe(curve.rows([width] * requests), requests, seconds, cells, width)
    later = foreseen(curve)
    for old, new in zip(earlier, later, strict=True):
        assert abs(new / old - 1) <= 1 / 30 + 1 / 100, "what is forgotten may add a hundredth"
    index = SHAPES.index(last)
    assert abs(later[index] / earlier[index] - 1) <= 1 / 40 + 1e-9
    for requests, width, cells in SHAPES:
        least = curve.seconds(requests, width, cells)
        assert (
            0
            < least
            <= (1 + 1e-12)
            * min(
                curve.seconds(requests + 1, width, cells),
                curve.seconds(requests, width + 1, cells),
                curve.seconds(requests, width, cells + 1),
            )
        )


def test_what_was_learned_goes_on_in_another_curve():
    first, second = (CostCurve(MEASURED, rows_max=48) for _ in range(2))
    for requests, width, cells in SHAPES:
        first.observe(first.rows([width] * requests), requests, 33.0, cells)
    second.resume(first.to_dict())
    assert foreseen(second) == foreseen(first)
    assert second.passes == first.passes == len(SHAPES)


def test_what_the_widest_costs_is_kept_where_the_earlier_life_did_not_measure_it():
    alone, crowd = (CostCurve(MEASURED, together=True, per_wide=seconds) for seconds in (0.0, 0.01))
    alone.observe(4, 1, 12.0)
    crowd.resume(alone.to_dict())
    assert crowd.passes == 1
    assert crowd.to_dict()["per_wide"] == 0.01
    alone.resume(crowd.to_dict())
    assert alone.to_dict()["per_wide"] == 0.01


@pytest.mark.parametrize(
    "damage",
    [
        {"rows": [4, 8]},
        {"rows": [4, 8, 32]},
        {"rows": [8, 4, 16]},
        {"seconds": [1.0, 2.0]},
        {"seconds": [1.0, float("nan"), 2.0]},
        {"seconds": [0.0, 1.0, 2.0]},
        {"seconds": ["1", "2", "3"]},
        {"seconds": 3},
        {"per_cell": -1.0},
        {"per_wide": -1.0},
        {"passes": None},
        {"colour": "red"},
    ],
    ids=str,
)
def test_what_is_damaged_or_of_another_curve_is_refused_and_changes_nothing(damage):
    curve = CostCurve(MEASURED)
    before = curve.to_dict()
    with pytest.raises(ValueError):
        curve.resume(before | damage)
    assert curve.to_dict() == before
