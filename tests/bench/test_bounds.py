"""Bounds against values worked out by hand. Costs are whole numbers, so that rates are exact fractions."""

import math
from fractions import Fraction

import pytest

from amusd.bench.bounds import (
    Bound,
    CostCurve,
    acceptance_by_depth,
    amusd_rate,
    best,
    hidden_rate,
    hit_rate,
    synchronous_rate,
    tokens_per_pass,
)

RANKS = [[1, 1, 3, 1, 2, 9, 1, 1]]  # hits: yes yes no yes no no yes yes


def flat(seconds):
    return lambda rows: seconds


def by_rows(rows):
    return float(rows)


def test_a_pass_commits_its_run_of_hits_and_the_targets_own_token():
    # k = 2: [1 1 3] [1 2] [9] [1 1]: 8 tokens in 4 passes; k = 1: [1 1] [3] [1 2] [9] [1 1].
    assert tokens_per_pass(RANKS, 2) == 8 / 4
    assert tokens_per_pass(RANKS, 1) == 8 / 5
    assert tokens_per_pass(RANKS, 0) == 1


def test_the_last_token_of_an_output_is_never_drafted():
    assert tokens_per_pass([[1, 1, 1, 1]], 3) == 4
    assert tokens_per_pass([[1, 1, 1, 1]], 2) == 4 / 2


def test_outputs_are_replayed_each_from_its_own_start():
    assert tokens_per_pass([[1, 1], [2, 1]], 4) == 4 / 3  # [1 1], then [2] [1]


def test_synchronous_rate_is_the_tokens_of_a_pass_over_pass_and_drafting():
    assert synchronous_rate(RANKS, by_rows, 0.5, 2) == pytest.approx(2 / (3 + 2 * 0.5))
    assert synchronous_rate(RANKS, by_rows, 0.5, 0) == 1


def test_hit_rate_counts_tokens_among_the_first_candidates():
    assert hit_rate(RANKS, 1) == 5 / 8
    assert hit_rate(RANKS, 2) == 6 / 8
    assert hit_rate(RANKS, 3) == 7 / 8


def test_acceptance_by_depth_is_conditional_on_all_before():
    # Depth 2: after hits at 0, 1, 3, 6 come hit, miss, miss, hit. Depth 3: after 0-1 a miss.
    assert acceptance_by_depth(RANKS, 4) == [5 / 8, 2 / 4, 0, None]
    assert acceptance_by_depth(RANKS, 4, reached_min=4) == [5 / 8, 2 / 4, None, None]


def test_all_corrections_foreseen_cost_one_full_pass_each():
    # k = 2: four passes of max(T, 2 t_d).
    assert hidden_rate(RANKS, flat(10.0), 1.0, 2, None) == pytest.approx(8 / 40)
    assert hidden_rate(RANKS, flat(10.0), 6.0, 2, None) == pytest.approx(8 / 48)


def test_a_correction_that_no_branch_foresaw_is_followed_by_a_plain_pass():
    # k = 2, two candidates; F is a full pass (20), P a plain one (10): F[1 1 3] the correction is unforeseen,
    # P[1] foreseen again, F[2] foreseen, F[9] unforeseen, P[1], F[1].
    cost = {1: 10.0, 3: 20.0}.__getitem__
    assert hidden_rate(RANKS, cost, 1.0, 2, 2) == pytest.approx(8 / (4 * 20 + 2 * 10))


def test_amusd_with_a_useless_draft_waits_for_two_tokens_before_every_pass_but_the_last():
    # Four tokens, no hit: wait 2 t_d, pass, three times (the third for one token, t_d); the last is plain.
    assert amusd_rate([[5, 5, 5, 5]], flat(10.0), 1.0, 4) == pytest.approx(4 / (3 + 4 * 10 + 1 + 1))


def test_amusd_with_a_perfect_draft_never_waits_twice():
    # t_d = 2, T = 6. Wait until 4 for two tokens; pass until 10 commits 0-2 (5 are drafted by then, the bonus
    # 2 among them): two wait, pass until 16 commits 3-5 (8 drafted); two wait, 22 commits 6-8; 9 is left.
    assert amusd_rate([[1] * 10], flat(6.0), 2.0, 4) == pytest.approx(10 / 28)


def test_amusd_drops_the_chain_where_the_bonus_was_guessed_wrong():
    # Wait until 4; the pass until 10 accepts 0-1, and token 2, of rank 2, ends the chain. Wait until 14 for
    # two of 3-5; the pass until 20 commits them.
    assert amusd_rate([[1, 1, 2, 1, 1, 1]], flat(6.0), 2.0, 4) == pytest.approx(6 / 20)


def test_amusd_starts_over_where_the_bonus_came_before_its_draft():
    # t_d = 5, T = 2: wait until 10, pass until 12 commits 0-2; token 2 is not drafted before 15, so drafting
    # starts over at 12: two more at 22, pass until 24 commits 3-5.
    assert amusd_rate([[1] * 6], flat(2.0), 5.0, 4) == pytest.approx(6 / 24)


def test_amusd_verifies_at_most_k():
    narrow = amusd_rate([[1] * 30], flat(100.0), 1.0, 2)
    assert narrow == pytest.approx(30 / (2 + 10 * 100))  # ten passes of three tokens after one wait


def test_best_takes_the_greatest_rate_and_of_equal_ones_the_smallest_k():
    assert best({0: 1.0, 1: 3.0, 2: 3.0}.__getitem__, range(3)) == Bound(3.0, 1)


def test_nothing_synchronous_beats_the_hidden_rollback():
    curve = CostCurve({1: 10.0, 8: 12.0, 16: 20.0})
    ks = range(curve.rows_max)
    for step in (0.1, 1.0, 5.0):
        synchronous = best(lambda k, step=step: synchronous_rate(RANKS, curve, step, k), ks)
        hidden = best(lambda k, step=step: hidden_rate(RANKS, curve, step, k, None), ks)
        assert synchronous.tokens_per_second <= hidden.tokens_per_second


def test_the_cost_curve_is_straight_between_points_and_flat_before_the_first():
    curve = CostCurve({4: 10.0, 8: 14.0})
    assert [curve(1), curve(4), curve(5), curve(8)] == [10, 10, 11, 14]
    assert math.isclose(curve(6), float(Fraction(12)))


def test_the_cost_curve_knows_nothing_beyond_what_was_measured():
    with pytest.raises(ValueError, match="9 rows: at most 8 were measured"):
        CostCurve({4: 10.0, 8: 14.0})(9)
