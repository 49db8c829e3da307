"""The race noise: fixed bits, the law of Exp(1), and no dependence on who asks.

Statistical tests run at fixed seeds, so they pass or fail for good; the stated rate is the chance that
a correct generator fails at a fresh seed.
"""

import math

import pytest
import torch

from amusd.sampling.races import GAMMA, RaceNoise, exponentials, mix64, position_key, random_bits

MASK = 2**64 - 1


def signed(value):
    return value - 2**64 if value >= 2**63 else value


def counters(size):
    return torch.tensor([signed((token + 1) * GAMMA & MASK) for token in range(size)])


def plain_log_exponential(seed, sample_index, position, token):
    """The definition in Python numbers."""
    bits = mix64((position_key(seed, sample_index, position) + (token + 1) * GAMMA) & MASK)
    u = ((bits >> 11) + 1) / 2**53
    return math.log(max(-math.log(u), 2.0**-54))


def test_a_position_is_a_splitmix64_stream():
    # The first outputs of SplitMix64 seeded with 1234567, as published on Rosetta Code.
    published = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert [bits & MASK for bits in random_bits([1234567], counters(5))[0].tolist()] == published


GOLDEN = [
    ((0, 0, 0), 0x238275BC38FCBE91, [0.7143951058387756, 1.0977226495742798, -0.9163217544555664]),
    ((7, 0, 100), 0xFE7C412994E81028, [-2.2448348999023438, 0.7106877565383911, -0.7791906595230103]),
    ((7, 1, 100), 0x623C1F94491866EE, [-0.07231494784355164, -0.6358482837677002, -1.841489553451538]),
    (
        (2**63 - 1, 3, 2**31),
        0x34B954BF85D69E46,
        [-0.5842059850692749, -1.7732572555541992, 0.4379986822605133],
    ),
]


@pytest.mark.parametrize(("name", "key", "log_exponentials"), GOLDEN)
def test_the_noise_of_a_seed_never_changes(name, key, log_exponentials):
    seed, sample_index, position = name
    assert position_key(*name) == key
    noise = RaceNoise(seed, 3, sample_index).rows([position])[0].tolist()
    assert noise == pytest.approx(log_exponentials, rel=2e-7)  # float32's last bit may differ with `log`


def test_the_tensor_code_is_the_definition():
    noise = RaceNoise(seed=99, vocabulary_size=257, sample_index=2).rows([5, 1000])
    expected = [
        [plain_log_exponential(99, 2, position, token) for token in range(257)] for position in (5, 1000)
    ]
    torch.testing.assert_close(noise, torch.tensor(expected), rtol=1e-6, atol=1e-7)


def test_the_tails_have_53_bits_and_no_infinity():
    extremes = torch.tensor([-1, 0, signed(2**64 - 2**11 - 1), 2**11])  # u = 1, 2^-53, 1 - 2^-53, 2^-52
    smallest, largest, second, below = exponentials(extremes).tolist()
    assert smallest == 2.0**-54
    assert largest == pytest.approx(53 * math.log(2))
    assert second == pytest.approx(2.0**-53)
    assert below == pytest.approx(52 * math.log(2))


def test_the_law_is_exponential():
    """Kolmogorov-Smirnov, one in a million false alarms."""
    values = RaceNoise(seed=1, vocabulary_size=1000).rows(range(400)).double().exp().flatten().sort().values
    uniform = -torch.expm1(-values)
    count = len(values)
    steps = torch.arange(count + 1, dtype=torch.float64) / count
    distance = max((uniform - steps[:-1]).max().item(), (steps[1:] - uniform).max().item())
    assert distance * math.sqrt(count) < math.sqrt(math.log(2 / 1e-6) / 2)


@pytest.mark.parametrize("tail", [1e-3, 1e-4])
def test_rare_events_are_as_frequent_as_they_should_be(tail):
    """Poisson counts of very small and very large E, five standard deviations: one in a million."""
    values = RaceNoise(seed=2, vocabulary_size=5000).rows(range(400)).double().exp()
    expected = tail * values.numel()
    for count in ((values < tail).sum().item(), (values > -math.log(tail)).sum().item()):
        assert abs(count - expected) < 5 * math.sqrt(expected)


def correlation(first, second):
    return torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1].item()


def test_positions_tokens_seeds_and_samples_are_independent():
    """Correlations of 100,000 pairs, five standard deviations: one in a million each."""
    noise = RaceNoise(seed=3, vocabulary_size=250).rows(range(400))
    pairs = {
        "next position": (noise[1:], noise[:-1]),
        "next token": (noise[:, 1:], noise[:, :-1]),
        "next token at the next position": (noise[1:, 1:], noise[:-1, :-1]),
        "next seed": (noise, RaceNoise(seed=4, vocabulary_size=250).rows(range(400))),
        "far seed": (noise, RaceNoise(seed=3 + 2**62, vocabulary_size=250).rows(range(400))),
        "next sample": (noise, RaceNoise(seed=3, vocabulary_size=250, sample_index=1).rows(range(400))),
    }
    for name, (first, second) in pairs.items():
        assert abs(correlation(first, second)) < 5 / math.sqrt(first.numel()), name


def test_every_bit_of_the_hash_is_fair():
    """Ones per bit over 100,000 words, five standard deviations: one in a million each."""
    words = random_bits([position_key(5, 0, position) for position in range(100)], counters(1000)).flatten()
    for bit in range(64):
        ones = (words >> bit).bitwise_and(1).sum().item()
        assert abs(ones - len(words) / 2) < 5 * math.sqrt(len(words)) / 2, bit


def test_a_row_is_the_same_in_any_company_and_order():
    alone = {position: RaceNoise(8, 300).rows([position])[0] for position in (0, 15, 16, 700)}
    noise = RaceNoise(8, 300)
    for positions in ([700, 0, 16, 15], [15], [0, 700], list(range(690, 710)), [16, 16]):
        for position, row in zip(positions, noise.rows(positions), strict=True):
            if position in alone:
                assert torch.equal(row, alone[position])


def test_a_token_has_the_same_noise_in_a_larger_vocabulary():
    small, large = RaceNoise(8, 100).rows([40]), RaceNoise(8, 40000).rows([40])
    torch.testing.assert_close(small, large[:, :100], rtol=2e-7, atol=0)


@pytest.mark.parametrize("vocabulary_size", [10, 2048, 50000])
def test_the_cache_is_bounded_and_evicts_what_was_used_longest_ago(vocabulary_size):
    noise = RaceNoise(8, vocabulary_size)
    noise.rows([0])
    made = noise._blocks[0]
    for position in range(200):
        noise.rows([0, position])
    kept = sum(len(block) for block in noise._blocks.values())
    assert kept <= 32
    assert noise._blocks[0] is made  # used in every call, so never evicted and made again


def test_callers_may_write_into_what_they_get():
    noise = RaceNoise(8, 50)
    first = noise.rows([3])
    expected = first.clone()
    first.zero_()
    assert torch.equal(noise.rows([3]), expected)
