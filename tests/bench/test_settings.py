"""Settings are checked before anything starts, and errors name the option."""

import pytest

from amusd.bench.settings import read_settings
from amusd.devices import Inventory
from amusd.errors import InputError


@pytest.fixture(autouse=True)
def two_cores(monkeypatch):
    monkeypatch.setattr("amusd.bench.common.available", lambda: Inventory((0, 1)))


def test_quick_changes_defaults_and_nothing_that_was_given():
    full, quick = read_settings(), read_settings(quick=True, max_tokens=7)
    assert quick.max_tokens == 7
    assert quick.repeats < full.repeats
    assert quick.seconds_max is not None
    assert full.seconds_max is None


def test_devices_are_chosen_as_generate_chooses_them():
    settings = read_settings()
    assert (str(settings.target_devices), str(settings.draft_devices)) == ("cpu:0", "cpu:1")
    assert str(settings.all_devices) == "cpu:0-1"


def test_the_draft_gets_what_the_named_target_leaves():
    assert str(read_settings(target_devices="cpu:1").draft_devices) == "cpu:0"


def test_another_target_is_not_widened_and_needs_a_draft():
    with pytest.raises(InputError, match=r"--draft: \(not given\): name a small model"):
        read_settings(target="big")
    assert read_settings(target="big", drafts=("small",)).widen == 0


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"repeats": 0}, "--repeats: 0"),
        ({"num_prompts": 0}, "--num-prompts: 0"),
        ({"max_tokens": 0}, "--max-tokens: 0"),
        ({"temperatures": (1.0, 0.0)}, "--temperatures: 1,0"),
        ({"temperatures": ()}, "--temperatures"),
        ({"temperatures": (-1.0,)}, "temperature: -1.0"),
        ({"ks": (0,)}, "--ks: 0"),
        ({"ks": ()}, "--ks"),
        ({"ks": (65,)}, "--ks: 65"),
        ({"ks": (3, 7, 3)}, "--ks: 3,7,3: give each only once"),
        ({"contenders": ("async", "async")}, "--contenders: async,async: give each only once"),
        ({"temperatures": (0.0, 0.0)}, "--temperatures: 0.0,0.0: give each only once"),
        ({"drafts": ("demo", "demo")}, "--draft: demo, demo"),
        ({"drafts": ("none",)}, "--draft: none"),
        ({"drafts": ("demo", "prompt-lookup")}, "--draft: prompt-lookup: it has no model to time"),
        ({"dtype": "int8"}, "dtype: int8"),
        ({"target_devices": "cpu:9"}, "cpu:9"),
    ],
)
def test_what_cannot_be_used_is_named(given, complaint):
    with pytest.raises(InputError, match=complaint):
        read_settings(**given)


def test_settings_become_plain_values():
    plain = read_settings().to_dict()
    assert plain["target_devices"] == "cpu:0"
    assert plain["out"] == "bench-results"
