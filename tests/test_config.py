"""Which engines a configuration makes, and which it refuses."""

from pathlib import Path
from typing import Any, get_args

import pytest

from amusd.config import IN_DISTRIBUTION, RULES_WITH_Q, EngineConfig, VerifyName
from amusd.errors import DeviceError, InputError
from amusd.params import RuleName
from amusd.sampling.rules import RULES


def test_defaults_are_the_embedded_pair_decoded_asynchronously() -> None:
    config = EngineConfig()
    assert (config.target, config.draft, config.mode, config.launcher) == ("demo", "demo", "async", "ray")
    assert config.remarks == ()


@pytest.mark.parametrize("draft", ["none", None])
def test_no_draft_means_the_target_alone_and_says_so(draft: str | None) -> None:
    config = EngineConfig(target="some/model", draft=draft, draft_devices="cpu:1")
    assert (config.draft, config.draft_devices, config.mode) == (None, None, "alone")
    assert config.remarks == ("no draft: the target decodes alone (mode alone)",)


def test_no_draft_with_mode_alone_is_what_was_asked_for() -> None:
    assert EngineConfig(draft="none", mode="alone").remarks == ()


def test_mode_alone_leaves_a_named_draft_out_and_says_so() -> None:
    config = EngineConfig(draft="demo-large", mode="alone", draft_devices="cpu:1")
    assert (config.draft, config.draft_devices) == (None, None)
    assert config.remarks == ("mode alone: the draft is not loaded",)


def test_another_target_alone_needs_no_draft() -> None:
    assert EngineConfig(target="some/model", mode="alone").draft is None


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"target": "a/b", "draft": "c/d"},
        {"draft": "none"},
        {"mode": "alone"},
        {"draft": ["demo", "prompt-lookup"]},
        {"draft": ["a", "b"], "draft_devices": ["cpu:1", "cpu:2"]},
    ],
)
def test_a_dumped_configuration_reads_back_the_same(values: dict[str, Any]) -> None:
    config = EngineConfig(**values)
    assert EngineConfig(**config.model_dump()).model_dump() == config.model_dump()


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"target": ""}, "target"),
        ({"target": 3}, "target"),
        ({"target": "some/model"}, "draft"),
        ({"draft": ""}, "draft"),
        ({"draft": None, "mode": "sync"}, "mode"),
        ({"draft": ["demo", "none"]}, "draft"),
        ({"draft": ["demo", "ngram"], "rule": "rrs"}, "rule"),
        ({"draft": "prompt-lookup", "rule": "spechub"}, "rule"),
        ({"draft": ["ngram", "ngram:notes.txt"]}, "draft"),
        ({"draft": ["demo", "phrases", "phrases"]}, "draft"),
        ({"draft": "phrases"}, "draft"),
        ({"draft": ["phrases", "prompt-lookup"]}, "draft"),
        ({"draft": "ngram:"}, "draft"),
        ({"draft": ["demo", 3]}, "draft"),
        ({"draft": ["demo", "demo-small"], "draft_devices": ["cpu:1", "cpu:2", "cpu:3"]}, "draft_devices"),
        ({"draft": "demo", "draft_devices": ["cpu:1", "tpu:2"]}, "draft_devices"),
        ({"draft": "none", "mode": "async"}, "mode"),
        ({"policy": "best"}, "policy"),
        ({"policy": "table"}, "policy_table"),
        ({"policy": "fixed", "policy_table": "table.json"}, "policy_table"),
        ({"policy": "table", "policy_table": "table.json", "mode": "sync"}, "policy"),
        ({"policy": "fixed", "mode": "sync"}, "policy"),
        ({"policy": "fixed", "mode": "alone"}, "policy"),
        ({"policy": "fixed", "draft": "none"}, "policy"),
        ({"mode": "fast"}, "mode"),
        ({"mode": None}, "mode"),
        ({"launcher": "slurm"}, "launcher"),
        ({"dtype": "float16"}, "dtype"),
        ({"rule": "hub"}, "rule"),
        ({"rule": None}, "rule"),
        ({"rule": "rrs", "draft": "random"}, "rule"),
        ({"num_speculative_tokens": 0}, "num_speculative_tokens"),
        ({"num_speculative_tokens": True}, "num_speculative_tokens"),
        ({"num_speculative_tokens": "7"}, "num_speculative_tokens"),
        ({"max_model_len": 1}, "max_model_len"),
        ({"max_requests": 257}, "max_requests"),
        ({"mode": "alone", "draft": ""}, "draft"),
        ({"mode": "alone", "draft_devices": "garbage"}, "draft_devices"),
        ({"draft": "none", "draft_devices": 3}, "draft_devices"),
        ({"target": " "}, "target"),
        ({"revision": ""}, "revision"),
        ({"ray_address": ""}, "ray_address"),
        ({"widen": -1}, "widen"),
        ({"trust_remote_code": "yes"}, "trust_remote_code"),
        ({"launcher": "local", "ray_address": "auto"}, "ray_address"),
        ({"launcher": "ray", "share_gpu": True}, "share_gpu"),
        ({"launcher": "local", "share_gpu": "yes"}, "share_gpu"),
    ],
)
def test_refused_value_names_the_field(values: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError) as refused:
        EngineConfig(**values)
    assert refused.value.field == field


@pytest.mark.parametrize("field", EngineConfig.model_fields)
def test_every_field_has_a_remedy_in_our_words(field: str) -> None:
    with pytest.raises(InputError, match=rf"^{field}: <object .*>: give "):
        EngineConfig(**{field: object()})


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"target": ""}, "target: '': give a Hugging Face id, a path, or demo"),
        ({"num_speculative_tokens": 0}, "num_speculative_tokens: 0: give a whole number from 1 to 64"),
        ({"num_speculative_tokens": 65}, "num_speculative_tokens: 65: give a whole number from 1 to 64"),
        ({"max_requests": 257}, "max_requests: 257: give a whole number from 1 to 256"),
        ({"widen": -1}, "widen: -1: give a whole number of 1 or more, or 0 to turn it off"),
        ({"max_model_len": 1}, "max_model_len: 1: give a whole number of 2 or more, or leave it out"),
    ],
)
def test_a_value_out_of_range_is_told_the_range(values: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError) as refused:
        EngineConfig(**values)
    assert str(refused.value) == line


@pytest.mark.parametrize("field", ["target_devices", "draft_devices"])
def test_device_names_are_checked_at_once(field: str) -> None:
    with pytest.raises(DeviceError, match=f"^{field}: tpu:0: "):
        EngineConfig(**{field: "tpu:0"})


def test_paths_may_be_paths() -> None:
    config = EngineConfig(target=Path("big"), draft=[Path("small"), "ngram"])  # type: ignore[arg-type]
    assert (config.target, config.draft) == ("big", ("small", "ngram"))
    assert EngineConfig(target="big", draft=Path("small")).draft == "small"  # type: ignore[arg-type]


def test_unknown_option_names_the_nearest_one() -> None:
    with pytest.raises(
        InputError, match=r"^max_model_length: 9: there is no such option; did you mean max_model_len\?$"
    ):
        EngineConfig(max_model_length=9)


def test_unknown_option_without_a_near_one_lists_them_all() -> None:
    with pytest.raises(InputError, match=r"choose from target, draft, .*debug$"):
        EngineConfig(zzz=1)


def test_configuration_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        EngineConfig().mode = "sync"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("draft", "models", "lookups"),
    [
        ("demo", ("demo",), ()),
        (["demo"], ("demo",), ()),
        ("prompt-lookup", (), ("prompt-lookup",)),
        (["ngram:a/b.txt", "demo", "prompt-lookup"], ("demo",), ("ngram:a/b.txt", "prompt-lookup")),
        (["demo", "phrases", "./ngram"], ("demo", "./ngram"), ("phrases",)),
        (["none"], (), ()),
    ],
)
def test_drafts_are_models_and_lookups(draft: Any, models: tuple[str, ...], lookups: tuple[str, ...]) -> None:
    config = EngineConfig(draft=draft)
    assert (config.model_drafts, config.lookups) == (models, lookups)
    assert sorted(config.drafts) == sorted(models + lookups)
    assert (config.mode == "alone") == (not config.drafts)


def test_a_lookup_needs_no_device_of_its_own() -> None:
    assert EngineConfig(draft="prompt-lookup", draft_devices="cpu:1").draft_devices is None


def test_another_target_decodes_with_a_lookup_and_no_draft_model() -> None:
    config = EngineConfig(target="some/model", draft="prompt-lookup")
    assert (config.mode, config.model_drafts) == ("async", ())


def test_the_configuration_and_the_rules_agree_on_names_and_on_what_they_need() -> None:
    assert get_args(RuleName) == tuple(RULES)
    assert {name for name, rule in RULES.items() if rule.needs_q} == RULES_WITH_Q
    assert {name for name, rule in RULES.items() if rule.exact == "distribution"} == RULES_WITH_Q


@pytest.mark.parametrize("rule", get_args(RuleName))
def test_a_rule_that_is_exact_only_in_distribution_says_so(rule: str) -> None:
    config = EngineConfig(rule=rule)
    assert any(IN_DISTRIBUTION in remark for remark in config.remarks) == (rule in RULES_WITH_Q)


def test_the_target_alone_follows_no_rule() -> None:
    assert EngineConfig(rule="rrs", mode="alone").remarks == ()


@pytest.mark.parametrize("verify", get_args(VerifyName))
def test_phrases_that_would_be_idle_are_said_to_be(verify: str) -> None:
    config = EngineConfig(draft=["demo", "phrases"], verify=verify)
    assert any("draft phrases is idle" in remark for remark in config.remarks) == (verify != "chain")
    assert EngineConfig(draft=["demo", "ngram"], verify=verify).remarks == ()
    assert EngineConfig(draft=["demo", "phrases"], verify=verify, mode="alone").remarks == (
        "mode alone: the draft is not loaded",
    )
