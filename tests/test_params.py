"""Sampling parameters: vLLM's defaults, and one clear error for every bad value."""

import json
import math
import pickle

import pytest

from amusd.errors import InputError
from amusd.params import (
    BAD_WORDS_MAX,
    LOGIT_BIASES_MAX,
    LOGPROBS_MAX,
    SEED_LIMIT,
    SEQUENCES_MAX,
    STOP_CHARACTERS_MAX,
    STOP_STRINGS_MAX,
    STOP_TOKENS_MAX,
    SamplingParams,
)

BAD = [
    ("temperature", -0.001),
    ("temperature", math.nan),
    ("temperature", math.inf),
    ("temperature", True),
    ("temperature", "0.7"),
    ("temperature", None),
    ("top_k", -2),
    ("top_k", True),
    ("top_k", 1.5),
    ("top_p", 0.0),
    ("top_p", -0.5),
    ("top_p", 1.0001),
    ("top_p", math.nan),
    ("min_p", -0.1),
    ("min_p", 1.1),
    ("min_p", math.nan),
    ("seed", -1),
    ("seed", SEED_LIMIT),
    ("seed", 1.0),
    ("seed", True),
    ("max_tokens", 0),
    ("max_tokens", -5),
    ("max_tokens", True),
    ("max_tokens", 2**31),
    ("max_tokens", 10**5000),
    ("min_tokens", -1),
    ("min_tokens", 17),
    ("stop", [""]),
    ("stop", ""),
    ("stop", ["a", ""]),
    ("stop", [7]),
    ("stop", 7),
    ("stop", ["x"] * (STOP_STRINGS_MAX + 1)),
    ("stop", "x" * (STOP_CHARACTERS_MAX + 1)),
    ("stop_token_ids", [-1]),
    ("stop_token_ids", [True]),
    ("stop_token_ids", "12"),
    ("stop_token_ids", [1] * (STOP_TOKENS_MAX + 1)),
    ("ignore_eos", 1),
    ("presence_penalty", 2.1),
    ("presence_penalty", math.nan),
    ("frequency_penalty", -2.1),
    ("repetition_penalty", 0.0),
    ("repetition_penalty", -1.0),
    ("repetition_penalty", math.inf),
    ("logit_bias", {-1: 0.0}),
    ("logit_bias", {"1": 0.0}),
    ("logit_bias", {1: 100.1}),
    ("logit_bias", {1: math.nan}),
    ("logit_bias", {1: True}),
    ("logit_bias", [1]),
    ("logit_bias", dict.fromkeys(range(LOGIT_BIASES_MAX + 1), 1.0)),
    ("temprature", 0.5),
    ("n", 0),
    ("n", True),
    ("n", SEQUENCES_MAX + 1),
    ("typical_p", 0.0),
    ("typical_p", 1.01),
    ("include_stop_str_in_output", "yes"),
    ("skip_special_tokens", None),
    ("allowed_token_ids", []),
    ("allowed_token_ids", [-1]),
    ("allowed_token_ids", ["a"]),
    ("bad_words", [""]),
    ("bad_words", ["a"] * (BAD_WORDS_MAX + 1)),
    ("bad_words_ids", [[]]),
    ("bad_words_ids", [3]),
    ("logprobs", -1),
    ("logprobs", True),
    ("logprobs", LOGPROBS_MAX + 1),
    ("prompt_logprobs", -1),
    ("prompt_logprobs", 1.0),
    ("rule", "hub"),
    ("logits_processors", [3]),
]


@pytest.mark.parametrize(("field", "value"), BAD, ids=[f"{f}-{i}" for i, (f, _) in enumerate(BAD)])
def test_a_bad_value_is_refused_in_one_line_that_names_field_value_and_remedy(field, value):
    with pytest.raises(InputError) as caught:
        SamplingParams(**{field: value})
    line = str(caught.value)
    assert caught.value.field == field
    assert caught.value.remedy
    assert line.startswith(f"{field}: ")
    assert "\n" not in line
    assert len(line) < 400
    assert caught.value.__cause__ is None  # no pydantic report behind it


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", 0),
        ("temperature", 5.0),
        ("top_k", -1),
        ("top_k", 10**6),
        ("top_p", 1),
        ("top_p", 1e-9),
        ("min_p", 1.0),
        ("seed", 0),
        ("seed", SEED_LIMIT - 1),
        ("max_tokens", 1),
        ("min_tokens", 16),
        ("presence_penalty", -2.0),
        ("frequency_penalty", 2.0),
        ("repetition_penalty", 3.0),
        ("logit_bias", {0: -100.0, 5: 100}),
        ("n", SEQUENCES_MAX),
        ("typical_p", 1e-9),
        ("typical_p", 1),
        ("max_tokens", None),
        ("allowed_token_ids", (0,)),
        ("logprobs", 0),
        ("prompt_logprobs", LOGPROBS_MAX),
    ],
)
def test_the_ends_of_each_range_are_allowed(field, value):
    assert getattr(SamplingParams(**{field: value}), field) == value


def test_the_defaults_are_those_of_vllm():
    params = SamplingParams()
    assert (params.temperature, params.top_k, params.top_p, params.min_p) == (1.0, 0, 1.0, 0.0)
    assert (params.seed, params.max_tokens, params.min_tokens) == (None, 16, 0)
    assert (params.presence_penalty, params.frequency_penalty, params.repetition_penalty) == (0.0, 0.0, 1.0)
    assert not params.stop
    assert not params.stop_token_ids
    assert not params.logit_bias
    assert not params.ignore_eos
    assert (params.n, params.typical_p, params.skip_special_tokens) == (1, 1.0, True)
    assert (params.logprobs, params.prompt_logprobs, params.allowed_token_ids) == (None, None, None)
    assert not params.include_stop_str_in_output
    assert params.bad_words == params.bad_words_ids == params.logits_processors == ()


def test_a_lone_stop_string_is_a_list_of_one():
    assert SamplingParams(stop="END").stop == SamplingParams(stop=["END"]).stop == ("END",)


def test_none_is_empty_where_vllm_has_none():
    lists = dict.fromkeys(("stop", "stop_token_ids", "logit_bias", "bad_words", "logits_processors"))
    assert SamplingParams(**lists) == SamplingParams()
    assert SamplingParams.from_dict({"logit_bias": None}).logit_bias == {}


@pytest.mark.parametrize(("temperature", "greedy"), [(0, True), (9e-6, True), (2e-5, False), (1, False)])
def test_a_temperature_too_small_to_divide_by_means_greedy(temperature, greedy):
    assert SamplingParams(temperature=temperature).greedy is greedy


def test_the_object_cannot_change():
    with pytest.raises(ValueError, match="frozen"):
        SamplingParams().temperature = 0.5


FULL = SamplingParams(
    temperature=0.7, top_k=5, top_p=0.9, min_p=0.1, seed=3, max_tokens=9, min_tokens=2, stop=["a", "\n"],
    stop_token_ids=[7, 8], ignore_eos=True, presence_penalty=0.1, frequency_penalty=-0.2,
    repetition_penalty=1.1, logit_bias={3: -1.5, 40: 2.0}, n=2, typical_p=0.8, bad_words=["no"],
    bad_words_ids=[[4, 5], [6]], allowed_token_ids=[3, 4], logprobs=0, prompt_logprobs=5,
    include_stop_str_in_output=True, skip_special_tokens=False,
)  # fmt: skip


@pytest.mark.parametrize("params", [SamplingParams(), FULL])
def test_the_wire_form_survives_json_and_pickle(params):
    assert SamplingParams.from_dict(json.loads(json.dumps(params.to_dict()))) == params
    assert pickle.loads(pickle.dumps(params)) == params


def test_the_wire_form_is_checked_like_any_other_input():
    with pytest.raises(InputError, match=r"^top_p: 2"):
        SamplingParams.from_dict({"top_p": 2.0})
    with pytest.raises(InputError, match=r"^logit_bias: "):
        SamplingParams.from_dict({"logit_bias": {"x": 1.0}})
    with pytest.raises(InputError, match=r"^best_of: 2: unknown"):
        SamplingParams.from_dict({"best_of": 2})


def test_several_greedy_outputs_would_be_one_and_the_same():
    with pytest.raises(InputError, match=r"^n: 2: at temperature 0"):
        SamplingParams(n=2, temperature=0)


def test_min_tokens_may_be_anything_where_max_tokens_is_what_the_model_holds():
    assert SamplingParams(max_tokens=None, min_tokens=500).min_tokens == 500


def test_python_functions_never_get_into_the_wire_form():
    params = SamplingParams(logits_processors=[lambda ids, scores: scores], top_k=3)
    assert params.to_dict() == {"top_k": 3}


def test_every_token_id_that_a_field_names_is_listed_for_checking():
    assert FULL.token_ids() == {
        "stop_token_ids": (7, 8),
        "logit_bias": (3, 40),
        "allowed_token_ids": (3, 4),
        "bad_words_ids": (4, 5, 6),
    }
