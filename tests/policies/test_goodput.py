"""How many nodes pay: laws over random reaches, costs and weights."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amusd.policies.costs import CostCurve
from amusd.policies.goodput import goodput_widths, price

KNOTS = (1, 4, 8, 16)
weights_of = st.dictionaries(st.integers(0, 2), st.floats(0.5, 8), max_size=3)


def chains(requests_min=1, reach_max=1.0):
    """Reaches that never grow, of some requests."""
    chain = st.lists(st.floats(0, reach_max), max_size=4).map(lambda found: sorted(found, reverse=True))
    many = st.lists(chain, min_size=requests_min, max_size=3)
    return many.map(lambda found: dict(enumerate(found)))


@st.composite
def curves(draw, together=(True, False), multiple=(1, 4), slopes=3, rising=False):
    """Costs that rise with every row, by one slope after the other.

    Args:
        rising: a row never costs less than one before it.
    """
    costs = [draw(st.floats(2, 10))]
    steps = draw(st.lists(st.floats(0.05, 1), min_size=slopes, max_size=slopes))
    steps = sorted(steps) if rising else steps
    for before, after, step in zip(KNOTS, KNOTS[1:], steps, strict=False):
        costs.append(costs[-1] + (after - before) * step)
    seconds = dict(zip(KNOTS, costs, strict=False))
    return CostCurve(seconds, draw(st.sampled_from(multiple)), together=draw(st.sampled_from(together)))


def convex(slopes=3):
    """Costs of single rows, of which none costs less than one before it; with one slope, all the same."""
    return curves(together=(True,), multiple=(1,), slopes=slopes, rising=True)


def rate(widths, reaches, costs, weights):
    """What a pass of these widths commits in a second, by weight."""
    tokens = sum(weights.get(each, 1.0) * (1 + sum(reaches[each][:width])) for each, width in widths.items())
    return tokens / costs.of_widths([1 + width for width in widths.values()])


@given(chains(), curves(), weights_of)
def test_no_other_widths_commit_more_and_nobody_is_left_out(reaches, costs, weights):
    chosen = goodput_widths(reaches, costs, weights)
    assert chosen.keys() == reaches.keys(), "each has its own row in every pass"
    others = product(*(range(len(chain) + 1) for chain in reaches.values()))
    best = max(rate(dict(zip(reaches, widths, strict=True)), reaches, costs, weights) for widths in others)
    assert rate(chosen, reaches, costs, weights) >= best * (1 - 1e-9)


@given(chains(requests_min=2), curves(together=(True,)), weights_of, st.floats(0, 2))
def test_nor_do_they_where_the_widest_costs_the_others(reaches, costs, weights, wider):
    """What one row more of the widest adds, as a pass of 100 cells would have it."""
    costs.resume(costs.to_dict() | {"per_wide": wider / 100 / (len(reaches) - 1), "per_cell": 0.0})
    costs.observe(
        costs.rows([1] * len(reaches)), len(reaches), costs.of_rows(len(reaches), len(reaches)), 100
    )
    assert costs.of_wider(len(reaches)) == pytest.approx(wider)
    chosen = goodput_widths(reaches, costs, weights)
    others = product(*(range(len(chain) + 1) for chain in reaches.values()))
    best = max(rate(dict(zip(reaches, widths, strict=True)), reaches, costs, weights) for widths in others)
    assert rate(chosen, reaches, costs, weights) >= best * (1 - 1e-9)


@given(chains(reach_max=1e-6), curves())
def test_without_acceptance_only_rows_that_are_padding_are_used(reaches, costs):
    rows = [1 + width for width in goodput_widths(reaches, costs).values()]
    assert costs.rows(rows) == costs.rows([1] * len(rows))


@given(chains(), st.lists(st.floats(0, 1), max_size=4), convex())
def test_where_rows_never_get_cheaper_nobody_gets_more_when_another_comes(reaches, another, costs):
    """That one's row pays, as all own rows do, so a second is worth more, and a node has to bring more.

    Not where the pass loses more nodes than it gains rows: the price is of the rows about its last one, and
    where there are fewer these may be cheaper ones.
    """
    before = goodput_widths(reaches, costs)
    after = goodput_widths(reaches | {9: sorted(another, reverse=True)}, costs)
    assert all(after[request] <= before[request] for request in reaches)
    (rows_before, price_before), (rows_after, price_after) = [
        (sum(rows), price(rate(widths, chosen, costs, {}) * costs.of_widths(rows), rows, costs))
        for widths, chosen in ((before, reaches), (after, reaches | {9: sorted(another, reverse=True)}))
        for rows in [[1 + width for width in widths.values()]]
    ]
    assert price_after > price_before or rows_after < rows_before


@given(chains(requests_min=2), convex(), st.sampled_from([1.5, 2.0, 8.0]))
def test_where_rows_never_get_cheaper_who_counts_for_more_gets_no_less_and_the_others_no_more(
    reaches, costs, weight
):
    before, after = goodput_widths(reaches, costs), goodput_widths(reaches, costs, {0: weight})
    assert after[0] >= before[0]
    assert all(after[request] <= before[request] for request in reaches if request)


@given(chains(), convex(slopes=1))
def test_where_every_row_costs_the_same_what_reaches_the_price_is_taken_and_nothing_else(reaches, costs):
    widths = goodput_widths(reaches, costs)
    rows = [1 + width for width in widths.values()]
    asked = price(rate(widths, reaches, costs, {}) * costs.of_widths(rows), rows, costs)
    left = [reach for each, chain in reaches.items() for reach in chain[widths[each] :]]
    assert max(left, default=0.0) <= asked * (1 + 1e-9)
    taken = [reach for each, chain in reaches.items() for reach in chain[: widths[each]]]
    assert min(taken, default=1.0) >= asked * (1 - 1e-9)


@given(st.integers(1, 11), st.floats(0.1, 5))
def test_the_end_of_a_group_of_rows_makes_nodes_neither_free_nor_too_dear(rows, tokens):
    costs = CostCurve({1: 10.0, 6: 10.0, 7: 16.0, 12: 16.0, 13: 22.0, 18: 22.0}, 1, together=True)
    mean = tokens * 6 / 6 / costs.of_rows(rows, 1)  # six rows cost six more
    assert 0.5 * mean <= price(tokens, [rows], costs) <= 1.5 * mean


def test_where_rows_cost_nothing_the_price_is_nothing():
    assert price(5.0, [4, 4], CostCurve({4: 1.0, 64: 1.0}, together=True)) == 0
    around = (20 - 10) / (16 - 4)  # four rows are the least, and eight more than these eight cost 20
    assert price(3.0, [5], CostCurve({4: 10.0, 8: 12.0, 12: 16.0})) == pytest.approx(3 * around / 12)
