import pytest

from amusd.bench.statistics import Spread, paired_ratio, spread


def test_a_spread_is_the_median_between_the_least_and_the_greatest():
    assert spread([5.0, 1.0, 2.0]) == Spread(2.0, 1.0, 5.0)
    assert spread([1.0, 2.0]) == Spread(1.5, 1.0, 2.0)


def test_ratios_are_taken_within_a_repeat_and_not_of_medians():
    # Of the medians it would be 2 / 2 = 1.
    assert paired_ratio([1.0, 2.0, 9.0], [2.0, 1.0, 3.0]) == Spread(2.0, 0.5, 3.0)


def test_a_repeat_that_only_one_side_has_is_refused():
    with pytest.raises(ValueError, match="shorter"):
        paired_ratio([1.0, 2.0], [1.0])
