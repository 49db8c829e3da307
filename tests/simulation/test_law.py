"""The acceptance law does what it says, counted over some thousand positions."""

from itertools import pairwise
from statistics import fmean, pvariance

import pytest

from amusd.simulation.law import Acceptance, AcceptanceLaw
from amusd.simulation.text import TrueText
from amusd.speculation.messages import RequestId

R = RequestId(1)
POSITIONS = range(4000)
TEXT = TrueText(7)


def law(index: int = 0, agreement: float = 1.0, **parameters) -> AcceptanceLaw:
    return AcceptanceLaw(Acceptance(source="made up", **parameters), TEXT, index, agreement)


def answers(of: AcceptanceLaw, count: int = 3) -> list[tuple[int | None, list[float]]]:
    """At each position the rank of the target's token and the scores."""
    found = []
    for position in POSITIONS:
        candidates = of.candidates(R, position, (), count)
        tokens = [token for token, _ in candidates]
        truth = TEXT.token(R, position)
        found.append((tokens.index(truth) if truth in tokens else None, [score for _, score in candidates]))
    return found


@pytest.mark.parametrize("spread", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("persistence", [0.0, 0.6])
def test_the_first_candidate_hits_at_the_rate(spread, persistence):
    found = answers(law(rate=0.7, spread=spread, persistence=persistence))
    assert fmean(rank == 0 for rank, _ in found) == pytest.approx(0.7, abs=0.03)


def test_runners_up_hit_where_those_before_them_missed():
    found = answers(law(rate=0.6, runners_up=[0.5, 0.25]))
    missed = [rank for rank, _ in found if rank != 0]
    assert fmean(rank == 1 for rank in missed) == pytest.approx(0.5, abs=0.04)
    missed = [rank for rank in missed if rank != 1]
    assert fmean(rank == 2 for rank in missed) == pytest.approx(0.25, abs=0.05)


def test_no_candidate_is_likelier_than_the_one_before_it():
    for _, scores in answers(law(rate=0.4, spread=0.5, runners_up=[0.9, 0.9])):
        assert scores == sorted(scores, reverse=True)
        assert sum(scores) <= 1.001


def test_calibrated_scores_are_the_chances():
    found = answers(law(rate=0.6, spread=0.4, runners_up=[0.5]), count=2)
    for low, high in ((0.0, 0.3), (0.3, 0.6), (0.6, 0.9), (0.9, 1.01)):
        inside = [(rank, scores[0]) for rank, scores in found if low <= scores[0] < high]
        assert fmean(rank == 0 for rank, _ in inside) == pytest.approx(
            fmean(score for _, score in inside), abs=0.05
        )


@pytest.mark.parametrize(
    ("miscalibrated", "is_above"),
    [({"bias": -1.0}, False), ({"bias": 1.0}, True), ({"sharpness": 2.0}, True), ({"sharpness": 0.5}, False)],
)
def test_miscalibrated_scores_err_in_their_direction_and_change_no_hit(miscalibrated, is_above):
    fair, unfair = law(rate=0.7), law(rate=0.7, **miscalibrated)
    assert [rank for rank, _ in answers(fair)] == [rank for rank, _ in answers(unfair)]
    assert (unfair.candidates(R, 0, (), 1)[0][1] > 0.7) is is_above


def test_persistence_makes_stretches():
    def neighbours(persistence: float) -> float:
        hits = [rank == 0 for rank, _ in answers(law(rate=0.7, spread=0.9, persistence=persistence))]
        mean = fmean(hits)
        products = [(a - mean) * (b - mean) for a, b in pairwise(hits)]
        return fmean(products) / pvariance(hits)

    assert neighbours(0.0) == pytest.approx(0.0, abs=0.05)
    assert neighbours(0.8) > 0.5


def test_below_a_wrong_token_nothing_hits_and_nobody_notices():
    of = law(rate=0.9, spread=0.2)
    scores, hits = [], 0
    for position in POSITIONS[:500]:
        wrong = (TEXT.token(R, position) + 1) % 1000
        (token, score), *_ = of.candidates(R, position, (wrong,), 2)
        scores.append(score)
        hits += token == TEXT.token(R, position + 1)
    assert hits <= 1  # an accident of one in 32,000
    assert fmean(scores) == pytest.approx(0.9, abs=0.03)


def test_an_answer_depends_on_the_place_alone():
    asked_alone = law(rate=0.5, spread=0.5).candidates(R, 100, (), 3)
    asked_late = law(rate=0.5, spread=0.5)
    for position in (300, 5, 100):
        asked_late.candidates(R, position, (), 2)
    assert asked_late.candidates(R, 100, (), 3) == asked_alone
    path = (TEXT.token(R, 98), TEXT.token(R, 99))
    assert asked_late.candidates(R, 98, path, 3) == asked_alone
    wrong = (1, 2)
    below = asked_late.candidates(R, 99, wrong, 3)
    assert asked_late.candidates(R, 98, (TEXT.token(R, 98), *wrong), 3) == below


def test_candidates_are_distinct():
    for position in POSITIONS[:300]:
        tokens = [token for token, _ in law(rate=0.5, runners_up=[0.5] * 7).candidates(R, position, (), 8)]
        assert len(set(tokens)) == 8


def test_drafters_agree_as_often_as_they_are_told_to():
    def same(agreement: float) -> float:
        one, other = (law(index, agreement, rate=0.5, runners_up=[0.5]) for index in (0, 1))
        return fmean(
            one.candidates(R, position, (), 2) == other.candidates(R, position, (), 2)
            for position in POSITIONS[:1500]
        )

    assert same(1.0) == 1.0
    assert same(0.0) < 0.3  # only where both found the target's token in the same rank
    assert same(0.0) < same(0.7) < 1.0
