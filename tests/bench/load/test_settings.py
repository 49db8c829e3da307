"""Settings of a load benchmark are checked before anything starts, and make the servers' options."""

from pathlib import Path

import pytest

from amusd.bench.load.contenders import load_contenders, server_options
from amusd.bench.load.settings import read_load_settings
from amusd.devices import Inventory
from amusd.errors import InputError
from amusd.policies.table import best_table
from amusd.serving.settings import read_settings


@pytest.fixture(autouse=True)
def two_cores(monkeypatch):
    monkeypatch.setattr("amusd.bench.common.available", lambda: Inventory((0, 1)))


def test_quick_changes_defaults_and_nothing_that_was_given():
    full, quick = read_load_settings(), read_load_settings(quick=True, max_tokens=7)
    assert quick.max_tokens == 7
    assert quick.requests < full.requests


def test_the_target_alone_always_takes_part_and_fixed_settings_are_many():
    keys = [item.key for item in load_contenders(read_load_settings(ks=(1, 7)))]
    assert keys == [
        *("alone", "fixed k=1", "fixed k=7", "table", "goodput"),
        *("transformers cpu:0", "transformers cpu:0-1"),
    ]
    only = read_load_settings(contenders=("goodput", "sync"), ks=(3,))
    assert [item.key for item in load_contenders(only)] == ["alone", "goodput", "sync k=3"]


def test_each_contender_s_options_are_those_of_a_server(tmp_path):
    file = tmp_path / "table.json"
    best_table({1: {0: 1.0, 9: 2.0}}, {}).write(file)
    names = ("fixed", "sync", "table", "goodput")
    settings = read_load_settings(contenders=names, ks=(3,), requests=99, policy_table=file)
    engines = {}
    for contender in load_contenders(settings):
        options = server_options(contender, settings)
        flags = dict(zip(options[::2], options[1::2], strict=True))
        numbers = {"--widen", "--max-requests", "--max-queue", "--num-speculative-tokens"}
        given = {
            name[2:].replace("-", "_"): int(value) if name in numbers else value
            for name, value in flags.items()
        }
        engines[contender.key], server = read_settings(given, None)
        assert server.max_queue == 99
    shown = {key: (item.mode, item.policy, item.num_speculative_tokens) for key, item in engines.items()}
    assert shown == {
        "alone": ("alone", "goodput", 7),
        "fixed k=3": ("async", "fixed", 3),
        "sync k=3": ("sync", "goodput", 3),
        "table": ("async", "table", 9),
        "goodput": ("async", "goodput", 7),
    }


def test_lookups_draft_beside_the_model_of_everybody_but_the_target_alone():
    given = {"contenders": ("goodput",), "drafts": ("prompt-lookup", "demo-small", "ngram")}
    settings = read_load_settings(**given)
    alone, goodput = (server_options(item, settings) for item in load_contenders(settings))
    assert "--draft" not in alone
    drafts = [goodput[index + 1] for index, option in enumerate(goodput) if option == "--draft"]
    assert drafts == ["demo-small", "prompt-lookup", "ngram"]


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"rates": (2.0, 1.0)}, "--rates: 2,1"),
        ({"rates": (0.0, 1.0)}, "--rates: 0,1"),
        ({"rates": (float("nan"),)}, "--rates: nan"),
        ({"requests": 0}, "--requests: 0"),
        ({"seconds": 0.0}, "--seconds: 0.0"),
        ({"arrivals": "tides"}, "--arrivals: tides: give one of poisson, bursts"),
        ({"contenders": ("pearl",)}, "--contenders: pearl"),
        ({"live": (2, 64)}, "--live: 2,64: give different numbers from 1 to 32"),
        ({"live": (4, 2)}, "--live: 4,2"),
        ({"hold_seconds": 0.0}, "--hold-seconds: 0.0"),
        ({"policy_table": Path("missing.json")}, "policy_table: missing.json: cannot be read"),
        ({"ks": (65,)}, "--ks: 65"),
        ({"ks": (3, 3)}, "--ks: 3,3: give each only once"),
        ({"drafts": ("demo", "demo-small")}, "--draft: demo, demo-small"),
        ({"drafts": ("ngram",)}, "--draft: ngram: under load one model drafts"),
        ({"drafts": ("none", "ngram")}, "--draft: none: under load one model drafts"),
        ({"drafts": ("demo", "ngram", "ngram")}, "draft: "),
        ({"max_requests": 257}, "max_requests: 257"),
        ({"temperatures": (-1.0,)}, "temperature: -1.0"),
        ({"temperatures": ()}, "--temperatures: (none)"),
        ({"ks": ()}, "--ks: (none)"),
        ({"target": "big"}, "--draft: (not given)"),
    ],
)
def test_what_cannot_be_used_is_named(given, complaint):
    with pytest.raises(InputError) as refused:
        read_load_settings(**given)
    assert str(refused.value).startswith(complaint)


def test_settings_are_plain_values_in_the_results():
    plain = read_load_settings(out=Path("x")).to_dict()
    assert (plain["out"], plain["target_devices"], plain["prompts_file"]) == ("x", "cpu:0", None)
    assert plain["policy_table"] is None
