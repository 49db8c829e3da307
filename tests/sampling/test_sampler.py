"""The sampler: the law of its draws, the coupling of two sides, ties, and rows that stand for themselves.

Statistical tests run at fixed seeds; the stated rate is that of a false alarm at a fresh seed.
"""

import math

import pytest
import torch
from scipy.stats import chi2

from amusd.params import SamplingParams
from amusd.sampling import RowSampler
from amusd.sampling.sampler import _earliest, _earliest_anywhere

FALSE_ALARM = 1e-6
LAW_P = torch.tensor([0.4, 0.25, 0.15, 0.1, 0.06, 0.03, 0.01])
LAW_Q = torch.tensor([0.2, 0.4, 0.05, 0.2, 0.1, 0.01, 0.04])
VOCAB = len(LAW_P)
DRAWS = 40_000


def sampler(vocabulary_size=VOCAB, seed=11, sample_index=0, prompt_length=0, end_tokens=(), **settings):
    return RowSampler(
        SamplingParams(**settings),
        seed=seed,
        vocabulary_size=vocabulary_size,
        prompt_length=prompt_length,
        sample_index=sample_index,
        end_tokens=end_tokens,
    )


def draws(law, count=DRAWS, **settings):
    """The winners of `count` positions with the same law."""
    logits = law.log().expand(count, len(law))
    one = sampler(len(law), **settings)
    return torch.tensor(one.winners(one.arrivals(logits, range(count))))


def assert_law(found, law):
    """Chi-square test of draws against a law; tokens of probability 0 never."""
    counts = torch.bincount(found, minlength=len(law)).double()
    assert counts[law == 0].sum() == 0
    expected = law.double()[law > 0] * len(found)
    statistic = ((counts[law > 0] - expected) ** 2 / expected).sum().item()
    assert statistic < chi2.isf(FALSE_ALARM, max(1, len(expected) - 1)), counts


def test_winners_follow_the_softmax_of_the_logits():
    assert_law(draws(LAW_P), LAW_P)


def test_winners_follow_the_softmax_at_a_temperature():
    assert_law(draws(LAW_P, temperature=2.0), LAW_P.sqrt() / LAW_P.sqrt().sum())


def test_winners_follow_the_truncated_law():
    law = torch.where(LAW_P >= 0.1, LAW_P, 0.0)
    assert_law(draws(LAW_P, count=10_000, top_k=4), law / law.sum())


def test_unlikely_tokens_of_a_large_vocabulary_win_as_often_as_they_should():
    """Half the mass on one token, half on 4,999: five standard deviations, one in a million."""
    law = torch.full((5000,), 0.5 / 4999)
    law[17] = 0.5
    tail = (draws(law, count=4000) != 17).sum().item()
    assert abs(tail - 2000) < 5 * math.sqrt(1000)


def test_two_sides_agree_as_often_as_the_closed_form_of_the_race_says():
    """P(same winner) = sum_i 1 / sum_j max(p_j / p_i, q_j / q_i); five standard deviations."""
    p, q = LAW_P.double(), LAW_Q.double()
    ratios = torch.maximum(p[None, :] / p[:, None], q[None, :] / q[:, None])  # [i, j]
    expected = (1 / ratios.sum(dim=1)).sum().item()
    rate = (draws(LAW_P) == draws(LAW_Q)).double().mean().item()
    assert abs(rate - expected) < 5 * math.sqrt(expected * (1 - expected) / DRAWS)
    independent = (p * q).sum().item()
    assert expected > 2 * independent  # so the shared noise is what makes them agree


def test_the_same_seed_repeats_and_another_does_not():
    assert torch.equal(draws(LAW_P, count=500), draws(LAW_P, count=500))
    assert not torch.equal(draws(LAW_P, count=500), draws(LAW_P, count=500, seed=12))


def test_sample_indices_are_independent_and_index_0_is_the_plain_one():
    """Agreement of two samples is that of independent draws; five standard deviations."""
    plain, zero, one = draws(LAW_P), draws(LAW_P, sample_index=0), draws(LAW_P, sample_index=1)
    assert torch.equal(plain, zero)
    assert_law(one, LAW_P)
    chance = (LAW_P.double() ** 2).sum().item()
    rate = (plain == one).double().mean().item()
    assert abs(rate - chance) < 5 * math.sqrt(chance * (1 - chance) / DRAWS)


def test_the_seed_inside_the_settings_plays_no_part():
    assert torch.equal(draws(LAW_P, count=200), draws(LAW_P, count=200))
    one = RowSampler(SamplingParams(seed=5), seed=11, vocabulary_size=VOCAB, prompt_length=0)
    logits = LAW_P.log().expand(200, VOCAB)
    assert one.winners(one.arrivals(logits, range(200))) == draws(LAW_P, count=200).tolist()


def test_greedy_has_no_noise_and_takes_the_lowest_id_of_equals():
    logits = torch.zeros(4, 300)
    logits[1, 299] = 1.0
    logits[2, [40, 200]] = 2.0
    logits[3, [0, 299]] = -1.0
    one = sampler(300, temperature=0)
    arrivals = one.arrivals(logits, [1, 2, 3, 4])
    assert torch.equal(arrivals, -logits)
    assert one.winners(arrivals) == [0, 299, 40, 1]
    found = one.candidates(arrivals[1:3], 2)
    assert found[0][0][0] == 299
    assert [token for token, _ in found[1]] == [40, 200]


def test_other_devices_break_ties_as_the_cpu_does():
    generator = torch.Generator().manual_seed(3)
    keys = torch.randint(0, 6, (200, 40), generator=generator).float()
    keys[7] = torch.inf
    lowest = [row.index(min(row)) for row in keys.tolist()]
    assert _earliest(keys).tolist() == _earliest_anywhere(keys).tolist() == lowest


def test_candidates_are_the_first_arrivals_with_their_share():
    one = sampler()
    arrivals = one.arrivals(LAW_P.log()[None].expand(20, VOCAB), range(20))
    shares = (-arrivals).softmax(1)
    for row, found in enumerate(one.candidates(arrivals, 3)):
        order = arrivals[row].argsort()[:3].tolist()
        assert [token for token, _ in found] == order
        assert [score for _, score in found] == pytest.approx(shares[row, order].tolist(), rel=1e-4)
    assert [found[0][0] for found in one.candidates(arrivals, 1)] == one.winners(arrivals)


def test_candidates_leave_out_what_cannot_be_chosen_and_keep_scores_in_range():
    logits = torch.tensor([[0.0, -200.0, 5.0, 1.0]])
    one = sampler(4, temperature=0, logit_bias={}, min_tokens=3, end_tokens=[2])
    found = one.candidates(one.arrivals(logits, [0]), 9)[0]
    assert [token for token, _ in found] == [3, 0, 1]
    assert found[-1][1] == 1e-6
    assert all(0 < score <= 1 for _, score in found)


def test_a_lone_survivor_has_score_one():
    one = sampler(top_k=1)
    assert one.candidates(one.arrivals(LAW_P.log()[None], [0]), 3) == [[(0, 1.0)]]


def test_excluded_and_padding_tokens_never_win():
    logits = torch.full((50, 12), 9.0)
    logits[:, 3] = -torch.inf
    one = sampler(10)
    arrivals = one.arrivals(logits, range(50))
    assert arrivals.shape == (50, 10)
    assert arrivals[:, 3].isinf().all()
    assert 3 not in one.winners(arrivals)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"temperature": 0.8},
        {"temperature": 0},
        {"temperature": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.01},
        {"repetition_penalty": 1.2, "frequency_penalty": 0.3},
    ],
)
@pytest.mark.parametrize("vocabulary_size", [333, 2048])
def test_a_row_has_the_same_bits_whatever_its_company(settings, vocabulary_size):
    generator = torch.Generator().manual_seed(1)
    logits = (torch.randn(12, vocabulary_size, generator=generator) * 4).bfloat16()
    positions = list(range(10, 22))
    prefixes = [list(range(position)) for position in positions]
    together = sampler(vocabulary_size, **settings).arrivals(logits, positions, prefixes)
    for rows in ([0], [11], [5, 6, 7], [9, 1, 4]):
        fresh = sampler(vocabulary_size, **settings)
        part = fresh.arrivals(logits[rows], [positions[row] for row in rows], [prefixes[row] for row in rows])
        assert torch.equal(part, together[rows])


def test_only_penalties_need_the_tokens_before():
    assert not sampler(temperature=0.5, top_p=0.5, min_tokens=3, logit_bias={1: 1.0}).needs_prefix
    assert sampler(frequency_penalty=0.1).needs_prefix
    assert sampler(temperature=0, repetition_penalty=1.1).needs_prefix
