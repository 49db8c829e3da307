"""How often siblings are emitted: closed forms, and never more than the optimal transport."""

import numpy as np
import pytest
import torch

from amusd.sampling import rules
from amusd.sampling.rules.kseq import best_rho
from scripts.optimum import best_hit_rate

from .cases import CASES, random_law
from .drawings import DRAWINGS, TOLERANCE, hit_rate, independent, optimal_hit_rate, without_replacement

every_case = pytest.mark.parametrize("case", CASES)


def laws(case):
    return CASES[case]


def overlap(p, q):
    return float(np.minimum(p, q).sum())


@every_case
@pytest.mark.parametrize("name", ["rejection", "rrs", "rrsw", "kseq", "spechub"])
def test_one_sibling_is_emitted_as_often_as_the_laws_overlap(name, case):
    p, q = laws(case)
    found = hit_rate(rules.get(name).law, p, q, DRAWINGS[name](q, 1))
    assert found == pytest.approx(overlap(p, q), abs=TOLERANCE)
    assert found == pytest.approx(optimal_hit_rate(p, independent(q, 1)), abs=TOLERANCE)


@every_case
def test_topk_hits_with_the_targets_mass_of_its_siblings(case):
    p, q = laws(case)
    for k in (1, 2, 3):
        drawings = DRAWINGS["topk"](q, k)
        [drafts] = drawings
        assert hit_rate(rules.get("topk").law, p, q, drawings) == pytest.approx(
            sum(p[each] for each in drafts)
        )


@every_case
def test_rrs_hits_unless_every_residual_misses(case):
    p, q = (np.array(law) for law in laws(case))
    left, missed = p, 1.0
    for k in (1, 2, 3):
        missed *= 1 - overlap(left, q)
        residual = np.maximum(left - q, 0)
        left = residual / residual.sum() if residual.sum() > 0 else left
        if len(q) ** k <= 130:
            found = hit_rate(rules.get("rrs").law, p.tolist(), q.tolist(), independent(q, k))
            assert found == pytest.approx(1 - missed, abs=TOLERANCE)


def hit_rate_without_replacement(p, q, k):
    """The first sibling is emitted, or it is not and the residual is met by what is left of q."""
    kept = np.minimum(p, q)
    residual = np.maximum(p - q, 0)
    if k == 1 or residual.sum() < TOLERANCE:
        return kept.sum()
    found = kept.sum()
    for token, mass in enumerate(q):
        left = np.where(np.arange(len(q)) == token, 0, q)
        if mass > 0 and left.sum() > 0:
            later = hit_rate_without_replacement(residual / residual.sum(), left / left.sum(), k - 1)
            found += (mass - kept[token]) * later
    return found


@every_case
@pytest.mark.parametrize("k", [2, 3])
def test_rrsw_hits_unless_every_residual_misses_what_is_left_of_the_draft(case, k):
    p, q = laws(case)
    if len(q) ** k <= 130:
        found = hit_rate(rules.get("rrsw").law, p, q, without_replacement(q, k))
        wanted = hit_rate_without_replacement(np.array(p), np.array(q), k)
        assert found == pytest.approx(wanted, abs=TOLERANCE)


@every_case
@pytest.mark.parametrize("k", [2, 3])
def test_kseq_hits_as_its_discount_promises_and_no_smaller_one_is_lossless(case, k):
    p, q = (torch.tensor(law, dtype=torch.float64) for law in laws(case))
    rho = best_rho(p, q, k)

    def promise(discount):
        return 1 - (1 - float(torch.minimum(q, p / discount).sum())) ** k

    def mass(discount):
        return discount * float(torch.minimum(q, p / discount).sum())

    assert 1 <= rho <= k
    assert promise(rho) <= mass(rho) + TOLERANCE
    if rho > 1 and mass(rho) > 0:
        assert promise(rho) == pytest.approx(mass(rho), abs=TOLERANCE)
    for smaller in np.linspace(1, rho, 9)[:-1]:
        assert promise(smaller) > mass(smaller) - TOLERANCE
    found = hit_rate(rules.get("kseq").law, p.tolist(), q.tolist(), independent(q.tolist(), k))
    assert found >= promise(rho) - TOLERANCE, "what is emitted after all rejections may be a sibling too"


@every_case
def test_spechub_hits_what_the_pairs_and_then_the_hub_can_take(case):
    p, q = laws(case)
    if sum(mass > 0 for mass in q) < 2:
        return
    hub = int(np.argmax(q))
    others = [token for token in range(len(q)) if token != hub]
    tail = sum(q[token] for token in others)
    kept = left = 0.0
    for token in others:
        first = min(p[token], q[token])
        second = min(p[token] - first, q[hub] * q[token] / tail)
        kept += first + second
        left += q[token] + q[hub] * q[token] / tail - first - second
    found = hit_rate(rules.get("spechub").law, p, q, DRAWINGS["spechub"](q, 2))
    assert found == pytest.approx(kept + min(left, p[hub]), abs=TOLERANCE)


@every_case
@pytest.mark.parametrize("name", ["topk", "rrs", "rrsw", "kseq", "spechub"])
def test_no_rule_beats_the_optimal_transport_of_its_own_drawings(name, case):
    p, q = laws(case)
    for k in (2, 3):
        if k <= (rules.get(name).max_siblings or k) and len(q) ** k <= 130:
            drawings = DRAWINGS[name](q, k)
            assert hit_rate(rules.get(name).law, p, q, drawings) <= optimal_hit_rate(p, drawings) + TOLERANCE


@every_case
def test_the_bound_by_sorted_tokens_is_the_linear_program(case):
    p, q = (np.array(law) for law in laws(case))
    for k in (1, 2, 3):
        if len(q) ** k <= 130:
            for replace, drawings in ((True, independent(q, k)), (False, without_replacement(q, k))):
                found = best_hit_rate(p, q, k, replace=replace)
                assert found == pytest.approx(optimal_hit_rate(p, drawings), abs=TOLERANCE), (k, replace)


def test_the_closed_form_of_the_race_is_what_shared_noise_does():
    """At a fixed seed; a right form fails at a fresh one in a million (5 standard errors)."""
    p, q = (torch.tensor(random_law(10, seed), dtype=torch.float64) for seed in (1, 2))
    race, draws = rules.get("race"), 200_000
    noise = torch.empty(draws, 10, dtype=torch.float64)
    noise.exponential_(generator=torch.Generator().manual_seed(3)).log_()
    hits = ((noise - p.log()).argmin(1) == (noise - q.log()).argmin(1)).double().mean()
    rate = race.hit_rate(p, q)
    assert abs(float(hits) - rate) < 5 * (rate * (1 - rate) / draws) ** 0.5


@every_case
def test_the_race_hits_at_least_half_as_often_as_an_optimal_rule_misses(case):
    """1 - TV is the optimum of one sibling, (1 - TV) / (1 + TV) the race's guarantee (arXiv 2408.07978)."""
    p, q = laws(case)
    distance = 1 - overlap(p, q)
    found = rules.get("race").hit_rate(*(torch.tensor(law, dtype=torch.float64) for law in (p, q)))
    assert (1 - distance) / (1 + distance) - TOLERANCE <= found <= 1 - distance + TOLERANCE
