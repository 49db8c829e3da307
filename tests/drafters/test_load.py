"""Which drafter a worker's options name."""

from amusd.devices import parse_device
from amusd.drafters import load_drafter
from amusd.drafters.random import RandomDrafter


def test_random_is_a_drafter_without_a_model():
    drafter = load_drafter({"model": "random", "vocabulary_size": 40}, parse_device("cpu:0"))
    assert isinstance(drafter, RandomDrafter)
    assert "40 tokens" in drafter.describe()["summary"]
