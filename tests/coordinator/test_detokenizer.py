"""Text comes in whole characters, in the context of what stands before it, with tokenizers of every make."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from tokenizers.decoders import DecodeStream
from transformers import PreTrainedTokenizerFast

from amusd.coordinator.detokenizer import Detokenizer

BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
LETTERS = [*"abc.:", "\u2581", "\u2581a", "\u2581b", "ab"]
VOCABULARY = {text: token for token, text in enumerate([*BYTES, *LETTERS, "</s>"])}
TEXTS = st.text(alphabet="abc .€🙂é", min_size=1, max_size=20)


def sentence_piece(strips: bool) -> PreTrainedTokenizerFast:
    """As Llama's (which strips the first space) or Gemma's: words begin with a mark, the rest is bytes."""
    merges = [("\u2581", "a"), ("\u2581", "b"), ("a", "b")]
    tokenizer = Tokenizer(models.BPE(VOCABULARY, merges, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(
        prepend_scheme="first" if strips else "never", split=False
    )
    steps = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if strips else steps)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>")


def byte_level() -> PreTrainedTokenizerFast:
    """As GPT-2's: every token is bytes; here each is one."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {text: token for token, text in enumerate([*alphabet, "</s>"])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>")


LLAMA, GEMMA, GPT = sentence_piece(strips=True), sentence_piece(strips=False), byte_level()
every_tokenizer = pytest.mark.parametrize("tokenizer", [LLAMA, GEMMA, GPT], ids=["llama", "gemma", "gpt"])


def ids(tokenizer, *texts):
    return tokenizer.convert_tokens_to_ids(list(texts))


def pieces(tokenizer, prompt, tokens):
    detokenizer = Detokenizer(tokenizer, prompt)
    return [*(detokenizer.push(token) for token in tokens), detokenizer.finish()]


@every_tokenizer
@given(prompt=TEXTS, text=TEXTS)
def test_the_pieces_add_up_to_what_the_tokens_add_to_the_prompt(tokenizer, prompt, text):
    tokens = tokenizer.encode(prompt + text, add_special_tokens=False)
    start = len(tokenizer.encode(prompt, add_special_tokens=False))
    whole = tokenizer.backend_tokenizer.decode(tokens)
    before = tokenizer.backend_tokenizer.decode(tokens[:start])
    found = pieces(tokenizer, tokens[:start], tokens[start:])
    assert before.rstrip("\ufffd") + "".join(found) == whole
    assert not any("\ufffd" in piece for piece in found)


@every_tokenizer
@given(data=st.data())
def test_tokens_that_no_text_has_are_read_without_an_error(tokenizer, data):
    some = st.lists(st.integers(0, len(tokenizer) - 1), max_size=12)
    prompt, tokens = data.draw(some), data.draw(some)
    assert all(isinstance(piece, str) for piece in pieces(tokenizer, prompt, tokens))


def test_a_context_that_reads_otherwise_with_more_tokens_costs_no_text():
    prompt = ids(GEMMA, "a")
    tokens = ids(GEMMA, "<0x20>", "<0xC2>", "<0xBB>", "<0xBB>", "b")
    stream = DecodeStream(ids=prompt)
    with pytest.raises(Exception, match="Invalid prefix"):
        for token in tokens:
            stream.step(GEMMA.backend_tokenizer, token)
    found = "".join(pieces(GEMMA, prompt, tokens))
    assert found.startswith(" ")
    assert found.endswith("b")


@pytest.mark.parametrize("tokenizer", [LLAMA, GEMMA], ids=["llama", "gemma"])
def test_an_unfinished_character_at_the_end_is_replaced_and_not_lost(tokenizer):
    prompt, tokens = ids(tokenizer, "a"), ids(tokenizer, "\u2581b", "<0xE2>", "<0x82>")
    assert pieces(tokenizer, prompt, tokens) == [" b", "", "", "\ufffd\ufffd"]


@every_tokenizer
def test_a_prompt_that_ends_inside_a_character_is_not_repeated(tokenizer):
    tokens = tokenizer.encode("abc€a", add_special_tokens=False)
    inside = len(tokenizer.encode("abc€", add_special_tokens=False)) - 1
    assert pieces(tokenizer, tokens[:inside], tokens[inside:]) == ["€", "a", ""]


def test_a_prompt_that_ends_in_a_replacement_character_is_not_repeated_either():
    prompt = ids(GEMMA, "a", "<0xEF>", "<0xBF>", "<0xBD>")
    assert pieces(GEMMA, prompt, ids(GEMMA, "b")) == ["b", ""]


def test_the_context_of_a_long_prompt_begins_with_a_whole_character():
    prompt = GEMMA.encode("ab" + "🙂" * 9, add_special_tokens=False)
    for cut in range(4):
        tokens = [*ids(GEMMA, *["c"] * cut), *GEMMA.encode("é", add_special_tokens=False)]
        assert "".join(pieces(GEMMA, prompt, tokens)) == "c" * cut + "é"


def test_an_end_token_writes_nothing():
    assert pieces(LLAMA, ids(LLAMA, "a"), ids(LLAMA, "\u2581b", "</s>")) == [" b", "", ""]
