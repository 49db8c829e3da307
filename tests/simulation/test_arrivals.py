"""Arrivals follow the law that they claim; bounds are those of five standard errors."""

from collections import Counter
from itertools import pairwise
from statistics import fmean, variance

import pytest

from amusd.simulation.arrivals import BURST, arrival_times

FOR_EVER = float("inf")
COUNT = 20_000


@pytest.mark.parametrize("kind", ["poisson", "bursts"])
@pytest.mark.parametrize("rate", [0.1, 3.0])
def test_the_mean_rate_is_the_one_that_was_asked_for(kind, rate):
    times = arrival_times(kind, rate, COUNT, FOR_EVER, seed=1)
    events = COUNT // (BURST if kind == "bursts" else 1)
    assert COUNT / times[-1] == pytest.approx(rate, rel=5 / events**0.5)


def test_poisson_gaps_are_exponential():
    times = arrival_times("poisson", 2.0, COUNT, FOR_EVER, seed=2)
    gaps = [after - before for before, after in pairwise(times)]
    for seconds in (0.1, 0.5, 1.0):  # P(gap > t) = exp(-rate t)
        share = fmean(gap > seconds for gap in gaps)
        expected = 2.718281828 ** (-2.0 * seconds)
        assert share == pytest.approx(expected, abs=5 * (expected * (1 - expected) / COUNT) ** 0.5)


@pytest.mark.parametrize(("kind", "dispersion"), [("poisson", 1.0), ("bursts", float(BURST))])
def test_counts_in_windows_vary_as_much_as_the_law_says(kind, dispersion):
    times = arrival_times(kind, 10.0, COUNT, FOR_EVER, seed=3)
    counts = Counter(int(time) for time in times)
    windows = [counts[second] for second in range(int(times[-1]))]
    # The variance of a sample variance of n normal values is 2 / n of its square.
    allowed = 5 * (2 / len(windows)) ** 0.5 * dispersion * 1.2
    assert variance(windows) / fmean(windows) == pytest.approx(dispersion, abs=allowed)


def test_bursts_arrive_together():
    times = arrival_times("bursts", 1.0, 3 * BURST, FOR_EVER, seed=4)
    assert set(Counter(times).values()) == {BURST}


@pytest.mark.parametrize("kind", ["poisson", "bursts"])
def test_a_seed_is_one_pattern_that_a_rate_only_stretches(kind):
    slow, fast = (arrival_times(kind, rate, 50, FOR_EVER, seed=5) for rate in (0.5, 5.0))
    assert [10 * time for time in fast] == pytest.approx(slow)
    assert arrival_times(kind, 0.5, 50, FOR_EVER, seed=5) == slow
    assert arrival_times(kind, 0.5, 50, FOR_EVER, seed=6) != slow


@pytest.mark.parametrize("kind", ["poisson", "bursts"])
def test_arrivals_begin_at_once_and_are_bounded_in_number_and_time(kind):
    assert arrival_times(kind, 1.0, 7, FOR_EVER, seed=7)[0] == 0.0
    assert len(arrival_times(kind, 1.0, 7, FOR_EVER, seed=7)) == 7
    early = arrival_times(kind, 1.0, 1000, 30.0, seed=7)
    assert 0 < len(early) < 1000
    assert max(early) <= 30.0
    assert early == arrival_times(kind, 1.0, 1000, FOR_EVER, seed=7)[: len(early)]
