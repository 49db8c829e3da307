"""What an engine refuses, and that it works afterwards."""

import pytest

from amusd import AmusdError, InputError, SamplingParams
from tests.engine.conftest import start

FEW = SamplingParams(max_tokens=4, temperature=0, ignore_eos=True)


@pytest.mark.parametrize(
    ("prompt", "params", "field", "part"),
    [
        ("", FEW, "prompt", "empty"),
        ([], FEW, "prompt", "empty"),
        ([1] * 2048, FEW, "prompt", "at most 2047"),
        ([0, 2048], FEW, "prompt", "0 to 2047"),
        ([0, -1], FEW, "prompt", "0 to 2047"),
        ("x", SamplingParams(stop_token_ids=[5000]), "stop_token_ids", "0 to 2047"),
        ("x", SamplingParams(logit_bias={2048: 1.0}), "logit_bias", "0 to 2047"),
    ],
)
def test_a_bad_request_names_the_field_and_leaves_the_engine_working(alone, prompt, params, field, part):
    with pytest.raises(InputError, match=part) as caught:
        alone.generate([[7, 8], prompt], params)
    assert caught.value.field == field
    assert len(alone.generate("x", FEW)[0].token_ids) == 4


@pytest.mark.parametrize(("prompt", "params"), [("", FEW), ("x", 3), ([1] * 2048, FEW)])
def test_a_bad_stream_is_refused_when_it_is_asked_for(alone, prompt, params):
    with pytest.raises(InputError):
        alone.stream(prompt, params)


def test_one_setting_for_each_prompt_or_one_for_all(alone):
    with pytest.raises(InputError, match="give one, or 2"):
        alone.generate(["a", "b"], [FEW])
    for wrong in ({"temperature": 0}, [FEW, None]):
        with pytest.raises(InputError, match=r"^params: .*give SamplingParams"):
            alone.generate(["a", "b"], wrong)
    assert alone.generate([], FEW) == []


def test_token_ids_are_a_prompt_too(alone):
    by_text = alone.generate("def f(", FEW)[0]
    by_ids = alone.generate(list(by_text.prompt_token_ids), FEW)[0]
    assert by_ids.token_ids == by_text.token_ids
    assert by_ids.prompt is None


def test_a_prompt_of_one_token_is_enough(alone, asynchronous):
    assert alone.generate([5], FEW)[0].token_ids == asynchronous.generate([5], FEW)[0].token_ids


def test_a_tokenizer_without_a_chat_template_is_named(alone):
    with pytest.raises(InputError, match="no chat template"):
        alone.chat_prompt("hello")


def test_an_engine_that_is_closed_says_so():
    llm = start("alone", launcher="inprocess")
    llm.close()
    llm.close()
    with pytest.raises(AmusdError, match="closed"):
        llm.generate("x", FEW)


def test_a_context_that_the_model_does_not_have_is_refused_and_leaves_nothing():
    with pytest.raises(InputError, match="max_model_len"):
        start("alone", max_model_len=100_000)
