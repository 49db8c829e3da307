"""Calibration: what is learned about scores, by whom, and how soon it is forgotten."""

from random import Random

import pytest

from amusd.policies.calibration import (
    ESTIMATE_MIN,
    MEMORY_TRIALS,
    PROSPECT_FIRST,
    Calibration,
    Forecasts,
    Records,
)
from amusd.speculation.target import Guess
from amusd.speculation.tree import SpeculationTree, TreeNode


def teach(calibration, score, hits, trials, rank=0):
    for i in range(trials):
        calibration.observe(score, i * hits // trials != (i + 1) * hits // trials, rank)


def test_unlearned_an_estimate_is_the_claim():
    assert Calibration().estimate(0.3) == pytest.approx(0.3)
    assert Calibration().estimate(1.0) == pytest.approx(1.0)
    assert Calibration().estimate(1e-6, rank=9) == pytest.approx(1e-6)


def test_a_boaster_is_found_out_and_a_modest_drafter_too():
    calibration = Calibration()
    teach(calibration, 0.9, hits=20, trials=200)
    teach(calibration, 0.1, hits=160, trials=200)
    assert calibration.estimate(0.9) == pytest.approx(0.1, abs=0.06)
    assert calibration.estimate(0.1) == pytest.approx(0.8, abs=0.06)
    assert calibration.estimate(0.5) == pytest.approx(0.5), "other claims are other bins"


def test_ranks_are_learned_apart():
    calibration = Calibration()
    teach(calibration, 0.5, hits=190, trials=200, rank=0)
    teach(calibration, 0.5, hits=10, trials=200, rank=1)
    assert calibration.estimate(0.5, 0) > 0.85 and calibration.estimate(0.5, 1) < 0.15
    assert calibration.estimate(0.5, 2) == pytest.approx(0.5)
    teach(calibration, 0.5, hits=0, trials=200, rank=3)
    assert calibration.estimate(0.5, 7) < 0.05, "further ranks share one row"


def test_estimates_never_reach_zero():
    calibration = Calibration()
    teach(calibration, 1e-6, hits=0, trials=2000)
    assert calibration.estimate(1e-6) >= ESTIMATE_MIN


def test_a_change_is_followed_within_a_few_memories():
    calibration = Calibration()
    teach(calibration, 0.6, hits=4000, trials=4000)
    teach(calibration, 0.6, hits=0, trials=3 * int(MEMORY_TRIALS))
    assert calibration.estimate(0.6) < 0.1


def test_a_request_starts_from_what_others_taught_and_then_goes_its_own_way():
    shared = Calibration()
    teach(Calibration(shared), 0.5, hits=180, trials=200)
    mine = Calibration(shared)
    assert mine.estimate(0.5) == pytest.approx(0.88, abs=0.02)
    teach(mine, 0.5, hits=0, trials=100)
    assert mine.estimate(0.5) < 0.2


def test_scores_become_calibrated_for_any_drafter():
    """Whatever monotone distortion a drafter applies to the truth, its estimates approach the truth."""
    chance, calibration = Random(1), Calibration()
    for _ in range(20_000):
        truth = chance.random()
        calibration.observe(max(1e-6, truth**3), chance.random() < truth)
    for truth in (0.2, 0.5, 0.8, 0.95):
        assert calibration.estimate(truth**3) == pytest.approx(truth, abs=0.12)


# -- forecasts -------------------------------------------------------------------------------------


def test_claims_below_committed_nodes_are_learned_from_and_others_forgotten():
    forecasts = Forecasts()
    forecasts.open(1, greedy=True)
    forecasts.calibrate(1, None, 9, [(50, 0.6), (51, 0.3)])  # below the root at position 9
    forecasts.calibrate(1, 7, 10, [(60, 0.6)])  # below node 7, token 50
    forecasts.calibrate(1, 8, 10, [(70, 0.6)])  # below node 8, token 51
    forecasts.on_commit(1, {7: 10}, [8], [50, 61], 12)
    own = forecasts._own[1]
    assert own._hits[0][7] == 1 and own._trials[0][7] == 2, "50 was right, 60 was wrong, 70 is not known"
    assert own._trials[1][6] == 1 and own._hits[1][6] == 0
    assert not forecasts._claims[1]


def test_claims_below_the_new_root_wait_for_the_next_commit():
    forecasts = Forecasts()
    forecasts.open(1, greedy=False)
    forecasts.calibrate(1, None, 9, [(50, 0.6)])
    forecasts.calibrate(1, 7, 10, [(60, 0.6)])
    forecasts.on_commit(1, {7: 10}, [], [50], 11)
    assert forecasts._own[1]._trials[0][7] == 1
    forecasts.on_commit(1, {}, [], [60], 12)
    assert forecasts._own[1]._hits[0][7] == 2


def test_greedy_and_sampled_requests_teach_their_own_kind():
    forecasts = Forecasts()
    for request, greedy in ((1, True), (2, False), (3, True), (4, False)):
        forecasts.open(request, greedy)
    for length in range(11, 211):
        forecasts.calibrate(1, None, length - 2, [(50, 0.6)])
        forecasts.on_commit(1, {}, [], [50], length)
    assert forecasts.calibrate(3, None, 9, [(50, 0.6)])[0][1] > 0.9
    assert forecasts.calibrate(4, None, 9, [(50, 0.6)])[0][1] == pytest.approx(0.6)


def test_what_calibration_ranks_higher_comes_first():
    forecasts = Forecasts()
    forecasts.open(1, greedy=True)
    for length in range(11, 211):
        forecasts.calibrate(1, None, length - 2, [(50, 0.6), (51, 0.4)])
        forecasts.on_commit(1, {}, [], [51], length)
    assert [token for token, _ in forecasts.calibrate(1, None, 9, [(50, 0.6), (51, 0.4)])] == [51, 50]


def test_a_closed_or_truncated_request_leaves_no_claims():
    forecasts = Forecasts()
    forecasts.open(1, greedy=True)
    forecasts.calibrate(1, 3, 9, [(50, 0.6)])
    forecasts.truncate(1)
    assert not forecasts._claims[1]
    forecasts.close(1)
    assert not forecasts._claims and not forecasts._own


def test_a_prospect_follows_the_last_best_guesses():
    calibration = Calibration()
    assert calibration.prospect == PROSPECT_FIRST
    for _ in range(60):
        calibration.observe_best(hit=False)
    assert calibration.prospect < 0.05
    for _ in range(60):
        calibration.observe_best(hit=True)
    assert calibration.prospect > 0.95


@pytest.mark.parametrize(
    ("tokens", "first"),
    [
        ([50], True),
        ([51], False),  # foreseen, but not as the best
        ([99], False),
        ([50, 60], True),
        ([50, 99], True),  # what comes later does not count
        ([99, 60], False),
        ([], None),
    ],
)
def test_a_commit_tells_whether_its_first_token_was_the_best_guess(tokens, first):
    forecasts = Forecasts()
    forecasts.open(1, greedy=True)
    forecasts.calibrate(1, None, 9, [(50, 0.6), (51, 0.3)])
    forecasts.calibrate(1, 7, 10, [(60, 0.6)])
    committed = {7: 10} if tokens[:1] == [50] else {}
    assert forecasts.on_commit(1, committed, [], tokens, 10 + len(tokens)) is first


def test_a_token_that_nobody_guessed_tells_nothing_of_guesses_although_a_later_one_does():
    forecasts = Forecasts()
    forecasts.open(1, greedy=True)
    assert forecasts.on_commit(1, {}, [], [50], 11) is None
    forecasts.calibrate(1, 7, 11, [(60, 0.6)])
    assert forecasts.on_commit(1, {7: 11}, [], [50, 60], 13) is None
    assert forecasts.prospect(1) > PROSPECT_FIRST, "but it is learned from"


def test_the_prospect_of_a_request_is_its_own_and_begins_with_that_of_its_kind():
    forecasts = Forecasts()
    for request, greedy in ((1, True), (2, True), (3, False)):
        forecasts.open(request, greedy)
        assert forecasts.prospect(request) == PROSPECT_FIRST
    for length in range(11, 71):
        forecasts.calibrate(1, None, length - 2, [(50, 0.6), (51, 0.3)])
        forecasts.on_commit(1, {}, [], [51], length)
    assert forecasts.prospect(1) < 0.05
    assert forecasts.prospect(2) == PROSPECT_FIRST
    for request, greedy in ((4, True), (5, False)):
        forecasts.open(request, greedy)
    assert forecasts.prospect(4) == forecasts.prospect(1)
    assert forecasts.prospect(5) == PROSPECT_FIRST


# -- the target's records --------------------------------------------------------------------------

LINK, LOOKUP = 4, -1


def node_claimed(**claims):
    by_drafter = {"link": LINK, "lookup": LOOKUP}
    return TreeNode(1, 1, aliases={(by_drafter[name], 0): score for name, score in claims.items()})


def records(*requests):
    made = Records()
    made.attach(LINK)
    made.attach(LOOKUP)
    for request in requests:
        made.open(request, [LOOKUP])
    return made


def test_of_several_claims_for_one_node_the_best_founded_counts():
    made = records(1)
    for _ in range(200):
        made.observe(1, Guess(LOOKUP, 0.9, False, rank=0))
    assert made.estimate(1, node_claimed(link=0.5, lookup=0.9)) == pytest.approx(0.5)
    assert made.estimate(1, node_claimed(lookup=0.9)) < 0.1


def test_a_lookup_has_a_record_of_its_own_in_each_request_and_begins_with_what_others_showed():
    made = records(1, 2)
    for _ in range(100):
        made.observe(1, Guess(LOOKUP, 0.6, True, rank=0))
        made.observe(2, Guess(LOOKUP, 0.6, False, rank=0))
    assert made.estimate(1, node_claimed(lookup=0.6)) > 0.85
    assert made.estimate(2, node_claimed(lookup=0.6)) < 0.15
    made.open(3, [LOOKUP])
    assert 0.3 < made.estimate(3, node_claimed(lookup=0.6)) < 0.7


def test_a_linked_drafter_has_one_record_that_ends_with_its_link():
    made = records(1, 2)
    for _ in range(100):
        made.observe(1, Guess(LINK, 0.6, False, rank=0))
    assert made.estimate(2, node_claimed(link=0.6)) < 0.15
    assert made.prospect([LINK]) < 0.05 and made.prospect([]) == 0
    made.detach(LINK)
    made.attach(LINK)
    assert made.estimate(2, node_claimed(link=0.6)) == pytest.approx(0.6)


def test_a_node_that_nobody_stands_for_any_more_is_worth_its_claim():
    records = Records()
    tree = SpeculationTree(3, 5)
    node = tree.add(tree.root, 6, 0.75)
    assert not node.aliases, "its drafter left, a lookup's nodes below it stay"
    assert records.estimate(7, node) == 0.75
