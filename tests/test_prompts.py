"""Prompts are read, and refused, from a tokenizer and configurations alone; nothing is started."""

import pytest
from tokenizers.processors import TemplateProcessing

from amusd.config import EngineConfig
from amusd.errors import InputError
from amusd.llm import LLM
from amusd.params import SamplingParams
from amusd.prompts import PromptReader

FEW = SamplingParams(max_tokens=4)
END = "<|endoftext|>"
TEMPLATE = "{{ messages[0]['content'] }}</s>{% if add_generation_prompt %}<a>{% endif %}"


@pytest.fixture(scope="module")
def reader():
    return PromptReader(EngineConfig())


def refusal(act, *arguments):
    with pytest.raises(InputError) as refused:
        act(*arguments)
    return str(refused.value)


def test_text_becomes_the_tokenizers_ids_and_ids_stay(reader):
    assert reader.read("def f(n):") == reader.tokenizer.encode("def f(n):")
    assert reader.read((5, 6)) == [5, 6]


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("", "prompt: '': it is empty: give at least one character"),
        ("a\udc80", r"prompt: 'a\udc80': it holds half a character (a lone surrogate)"),
        (b"abc", "prompt: b'abc': give text, or a list of token ids"),
        (None, "prompt: None: give text, or a list of token ids"),
    ],
)
def test_what_is_no_prompt_is_refused(reader, prompt, message):
    assert refusal(reader.read, prompt) == message


def test_a_prompt_that_leaves_no_room_says_what_would(reader):
    assert reader.check([1] * 2047, FEW) is None
    assert refusal(reader.check, [1] * 2048, FEW) == (
        "prompt: 2048 tokens: at most 2047 leave room for output: shorten it, that is all the model has"
    )
    short = PromptReader(EngineConfig(max_model_len=64))
    assert refusal(short.check, [1] * 64, FEW) == (
        "prompt: 64 tokens: at most 63 leave room for output: shorten it, or raise max_model_len"
    )


def test_a_long_text_is_refused_without_a_warning_of_the_tokenizers_own(reader, capfd, caplog):
    assert "at most 2047" in refusal(reader.check, reader.read("x = 1\n" * 2000), FEW)
    assert (capfd.readouterr(), caplog.records) == (("", ""), [])


def test_a_chat_message_goes_through_the_template_once(monkeypatch):
    reader = PromptReader(EngineConfig())
    monkeypatch.setattr(reader.tokenizer, "chat_template", TEMPLATE)
    beginning = TemplateProcessing(single=f"{END} $A", special_tokens=[(END, 0)])
    reader.tokenizer.backend_tokenizer.post_processor = beginning
    assert reader.read("hello")[0] == 0
    assert reader.tokenizer.decode(reader.read_chat("hello")) == "hello</s><a>"


def test_chat_without_a_template_is_refused(reader):
    assert refusal(reader.read_chat, "hello") == (
        "chat: demo: the tokenizer has no chat template: leave --chat out, or use a chat model"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "./no-such-model", "draft": "none"}, "target: ./no-such-model: no such folder"),
        ({"max_model_len": 100_000}, "max_model_len: 100000: the target demo holds 2048 positions"),
        ({"widen": 8}, "widen: 8: the FFNs of the target demo have 1024 neurons already"),
        (
            {"max_model_len": 8, "num_speculative_tokens": 8},
            "num_speculative_tokens: 8: give less than max_model_len, 8",
        ),
    ],
)
def test_an_engine_refuses_what_the_configurations_tell_before_it_starts_anything(
    options, message, monkeypatch
):
    monkeypatch.setattr("amusd.hosting.launcher_for", lambda config: pytest.fail("a launcher was made"))
    assert refusal(lambda: LLM(**options)).startswith(message)
