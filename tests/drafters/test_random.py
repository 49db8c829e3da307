"""The blind drafter."""

from amusd.drafters import Expansion
from amusd.drafters.random import RandomDrafter
from amusd.params import SamplingParams


def item(count):
    return Expansion(request=1, node=None, token=3, position=4, ancestors=(), path=(), count=count)


def test_it_answers_every_item_with_distinct_tokens_of_the_vocabulary():
    found = RandomDrafter(10).expand([item(3), item(1), item(99)])
    assert [len(candidates) for candidates in found] == [3, 1, 10]
    for candidates in found:
        tokens = [token for token, _ in candidates]
        assert len(set(tokens)) == len(tokens)
        assert all(0 <= token < 10 for token in tokens)
        assert all(score == 0.1 for _, score in candidates)


def test_it_repeats_with_its_seed_and_ignores_the_request():
    first, second = RandomDrafter(1000, seed=4), RandomDrafter(1000, seed=4)
    first.open(1, [1, 2], 2, SamplingParams(), 0)
    first.on_commit(1, {}, [], [3], 3)
    first.truncate(1, [1])
    assert first.expand([item(5)]) == second.expand([item(5)])
    first.close(1)
    assert RandomDrafter(1000, seed=5).expand([item(5)]) != RandomDrafter(1000, seed=4).expand([item(5)])
