"""Who takes part, with which settings."""

import dataclasses

import pytest

from amusd.bench import contenders
from amusd.bench.contenders import CONTENDERS, choose_contenders, device_of, variants
from amusd.bench.settings import read_settings
from amusd.devices import Inventory
from amusd.errors import InputError


@pytest.fixture(autouse=True)
def four_cores(monkeypatch):
    monkeypatch.setattr("amusd.bench.common.available", lambda: Inventory((0, 1, 2, 3)))


@pytest.fixture
def nothing_extra(monkeypatch):
    """As if llama.cpp were not installed, and the engine had its three first modes."""
    monkeypatch.setattr(contenders, "find_spec", lambda name: None)
    monkeypatch.setattr(contenders, "get_args", lambda _: ("async", "sync", "alone"))


def settings(**given):
    return read_settings(**{"target_devices": "cpu:0", "draft_devices": "cpu:1"} | given)


def find(key):
    return next(contender for contender in CONTENDERS if contender.key == key)


def test_what_cannot_run_is_left_out_and_says_why(nothing_extra):
    chosen, excluded = choose_contenders(settings())
    assert {contender.name for contender in chosen} == {
        "transformers",
        "transformers-assisted",
        "alone",
        "sync",
        "async",
    }
    assert "pip install 'amusd[llamacpp]'" in excluded["llamacpp"]
    assert "no mode pearl" in excluded["pearl"]


def test_what_was_named_and_cannot_run_is_an_error(nothing_extra):
    with pytest.raises(InputError, match=r"--contenders: llamacpp: llama_cpp is not installed"):
        choose_contenders(settings(contenders=("alone", "llamacpp")))


def test_an_unknown_name_is_an_error_that_lists_the_known():
    with pytest.raises(InputError, match="there is no such contender; choose from transformers, "):
        choose_contenders(settings(contenders=("vllm",)))


def test_one_name_can_be_several_rows():
    chosen, _ = choose_contenders(settings(contenders=("transformers-assisted",)))
    assert [contender.key for contender in chosen] == [
        "transformers-assisted, default k [target]",
        "transformers-assisted, default k [all]",
        "transformers-assisted, best k [target]",
        "transformers-assisted, best k [all]",
    ]


def test_keys_are_unique():
    assert len({contender.key for contender in CONTENDERS}) == len(CONTENDERS)


def test_all_means_the_cores_of_both_sides():
    assert str(device_of(find("transformers [all]"), settings())) == "cpu:0-1"
    assert str(device_of(find("async"), settings())) == "cpu:0"


def test_without_cores_on_both_sides_nothing_runs_on_all(monkeypatch):
    monkeypatch.setattr("amusd.bench.common.available", lambda: Inventory((0, 1), gpus=1))
    chosen, _ = choose_contenders(settings(target_devices="cuda:0", contenders=("transformers", "async")))
    assert [contender.key for contender in chosen] == ["transformers [target]", "async"]


def test_a_tuned_contender_has_a_variant_for_each_draft_and_k():
    tried = list(variants(find("sync"), settings(ks=(1, 3), drafts=("demo-small", "demo-large"))))
    assert [(variant.draft, variant.k) for variant in tried] == [
        ("demo-small", 1),
        ("demo-small", 3),
        ("demo-large", 1),
        ("demo-large", 3),
    ]


def test_async_runs_as_it_comes_and_alone_without_a_draft():
    options = settings(drafts=("demo-small",))
    assert [(v.draft, v.k) for v in variants(find("async"), options)] == [("demo-small", None)]
    assert [(v.draft, v.k) for v in variants(find("alone [target]"), options)] == [(None, None)]


def test_the_assistant_is_also_tried_without_its_threshold_but_not_in_a_hurry():
    best = find("transformers-assisted, best k [target]")
    tried = list(variants(best, settings(ks=(3,), drafts=("demo",))))
    assert [variant.threshold for variant in tried] == [None, 0.0]
    assert len({variant.key for variant in tried}) == 2
    quick = dataclasses.replace(settings(ks=(3,), drafts=("demo",)), seconds_max=10.0)
    assert [variant.threshold for variant in variants(best, quick)] == [None]


def test_llamacpp_takes_part_at_temperature_0_only():
    assert find("llamacpp [all]").runs_at(0)
    assert not find("llamacpp [all]").runs_at(1.0)


def test_a_draft_that_guesses_blindly_is_for_our_contenders_only():
    options = settings(drafts=("random", "demo-small"), ks=(3,))
    assert [variant.draft for variant in variants(find("sync"), options)] == ["random", "demo-small"]
    others = find("transformers-assisted, default k [all]")
    assert [variant.draft for variant in variants(others, options)] == ["demo-small"]
