"""The exact checks are known to fail for the mistakes that are easily made."""

import numpy as np
import pytest
import torch

from amusd.sampling import rules

from .cases import CASES, normalised
from .drawings import DRAWINGS, TOLERANCE, check_lossless, independent, without_replacement

P, Q = CASES["random 5 tokens, sharpness 1.0"]
RRS, RRSW, REJECTION = (rules.get(name).law for name in ("rrs", "rrsw", "rejection"))


def assert_caught(law, drawings):
    with pytest.raises(AssertionError):
        check_lossless(law, P, Q, drawings)


def test_the_right_rules_pass():
    check_lossless(RRS, P, Q, independent(Q, 3))
    check_lossless(RRSW, P, Q, without_replacement(Q, 3))


def test_duplicates_skipped_under_rrs():
    assert_caught(lambda p, q, drafts: RRS(p, q, list(dict.fromkeys(drafts))), independent(Q, 2))


def test_drafts_without_replacement_under_the_rule_for_independent_ones():
    assert_caught(RRS, without_replacement(Q, 2))


def test_independent_drafts_under_the_rule_without_replacement():
    distinct = {drafts: chance for drafts, chance in independent(Q, 2).items() if len(set(drafts)) == 2}
    drawings = {drafts: chance / sum(distinct.values()) for drafts, chance in distinct.items()}
    assert_caught(RRSW, drawings)


@pytest.mark.parametrize("name", ["rejection", "rrs", "rrsw", "kseq", "spechub"])
def test_a_q_that_differs_from_the_law_that_was_drawn_from(name):
    k = min(2, rules.get(name).max_siblings or 2)
    truncated = normalised([mass if mass > min(Q) else 0.0 for mass in Q])
    warped = normalised([mass**1.1 for mass in Q])
    for drawn_from in (truncated, warped):
        assert_caught(rules.get(name).law, DRAWINGS[name](drawn_from, k))


@pytest.mark.parametrize("name", ["rrs", "rrsw", "kseq"])
def test_dropping_the_sibling_of_lowest_score(name):
    law = rules.get(name).law
    draw = without_replacement if name == "rrsw" else independent

    def dropping(p, q, drafts):
        least = min(range(len(drafts)), key=lambda place: q[drafts[place]])
        return law(p, q, drafts[:least] + drafts[least + 1 :])

    check_lossless(law, P, Q, draw(Q, 2))
    assert_caught(dropping, draw(Q, 2))


def test_taking_a_set_or_not_by_its_scores():
    """Falling back to the target's own law, which is right by itself, only where the siblings look bad."""

    def choosy(p, q, drafts):
        return RRS(p, q, drafts) if max(q[token] for token in drafts) > 0.22 else p

    assert min(Q) < 0.22 < max(Q)
    assert_caught(choosy, independent(Q, 2))


def emitted_by_rejection(p, q, *, shared):
    """[2] how often each of two tokens is emitted when one uniform draws the draft and one accepts it.

    Exact: with these laws everything is constant on cells of 1/20, so the cells' middles are enough.
    """
    middles = (np.arange(20) + 0.5) / 20
    emitted = np.zeros(2)
    for draws in middles:
        for accepts in [draws] if shared else middles:
            token = 0 if draws < q[0] else 1
            accepted = accepts < p[token] / q[token]
            emitted[token if accepted else 1 - token] += 1  # of two tokens the other one is the residual
    return emitted / emitted.sum()


def test_noise_shared_between_drawing_and_accepting():
    p, q = np.array([0.25, 0.75]), np.array([0.5, 0.5])
    assert np.abs(emitted_by_rejection(p, q, shared=False) - p).max() < TOLERANCE
    assert np.abs(emitted_by_rejection(p, q, shared=True) - p).max() > 0.1


def test_noise_of_a_race_shared_between_drawing_and_emitting():
    """Exact for two tokens: the ratio of two exponentials is below r with chance r / (1 + r)."""
    p, q = torch.tensor([0.4, 0.6], dtype=torch.float64), torch.tensor([0.7, 0.3], dtype=torch.float64)
    below = [float(REJECTION(p, q, [token])[0]) for token in (0, 1)]  # the chance to emit token 0
    independent_noise = 0.7 * below[0] + 0.3 * below[1]
    # Shared: the draft is 0 where R / (1 + R) is below q[0], the emission where it is below its law.
    shared_noise = min(0.7, below[0]) + max(0.0, below[1] - 0.7)
    assert independent_noise == pytest.approx(0.4, abs=TOLERANCE)
    assert abs(shared_noise - 0.4) > 0.1
