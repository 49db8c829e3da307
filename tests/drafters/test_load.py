"""Which drafter a worker's options name."""

import pytest

from amusd.config import RULES_WITH_Q
from amusd.devices import parse_device
from amusd.drafters import load_drafter
from amusd.drafters.random import RandomDrafter
from amusd.errors import InputError


def test_random_is_a_drafter_without_a_model():
    drafter = load_drafter({"model": "random", "vocabulary_size": 40, "rule": "race"}, parse_device("cpu:0"))
    assert isinstance(drafter, RandomDrafter)
    assert "40 tokens" in drafter.describe()["summary"]


@pytest.mark.parametrize("rule", sorted(RULES_WITH_Q))
def test_random_has_no_law_to_draw_siblings_from(rule):
    options = {"model": "random", "vocabulary_size": 40, "rule": rule}
    with pytest.raises(InputError, match=f"rule: {rule}: the draft random has no law"):
        load_drafter(options, parse_device("cpu:0"))
