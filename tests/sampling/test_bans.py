"""Bans: vLLM's formulas, row by row."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from amusd.params import SamplingParams
from amusd.sampling import Prefixes, Warps

VOCAB = 12
tokens = st.integers(0, VOCAB - 1)
words = st.lists(st.lists(tokens, min_size=1, max_size=3), min_size=1, max_size=5)


def banned(settings, prompt, outputs, **others):
    """Which tokens each row bans, the prompt being the log and its output the path."""
    warps = Warps(SamplingParams(**settings), vocabulary_size=VOCAB, prompt_length=len(prompt), **others)
    prefixes = Prefixes(prompt, outputs)
    rows = warps(torch.zeros(len(outputs), VOCAB), [len(prompt) + len(out) for out in outputs], prefixes)
    return [set(row.isinf().nonzero()[:, 0].tolist()) for row in rows]


def bad_words_by_vllm(words, output):
    """A word's last token, where the output (not the prompt) ends with the tokens before it."""
    return {
        word[-1]
        for word in words
        if len(word) <= len(output) + 1 and output[len(output) - len(word) + 1 :] == word[:-1]
    }


@given(words=words, outputs=st.lists(st.lists(tokens, max_size=4), min_size=1, max_size=4))
def test_bad_words_are_banned_by_the_formula_of_vllm_in_every_row(words, outputs):
    expected = [bad_words_by_vllm(words, output) for output in outputs]
    assert banned({"bad_words_ids": words}, [1, 2, 3], outputs) == expected


@given(words=words, output=st.lists(tokens, max_size=6), split=st.integers(0, 6))
def test_what_is_committed_of_an_output_does_not_matter(words, output, split):
    warps = Warps(SamplingParams(bad_words_ids=words), vocabulary_size=VOCAB, prompt_length=2)
    log, path = [7, 7, *output[:split]], output[split:]
    [row] = warps(torch.zeros(1, VOCAB), [2 + len(output)], Prefixes(log, [path]))
    assert set(row.isinf().nonzero()[:, 0].tolist()) == bad_words_by_vllm(words, output)


def test_the_beginning_of_a_bad_word_in_the_prompt_does_not_count():
    assert banned({"bad_words_ids": [[3, 4]]}, [1, 3], [[], [3]]) == [set(), {4}]


def test_only_allowed_tokens_are_left():
    assert banned({"allowed_token_ids": [2, 5]}, [1], [[], [2]]) == [set(range(VOCAB)) - {2, 5}] * 2


def test_a_bad_word_of_one_token_is_banned_everywhere():
    assert banned({"bad_words_ids": [[4]]}, [1], [[], [4]]) == [{4}, {4}]


@pytest.mark.parametrize(
    "settings", [{"bad_words_ids": [[3], [1, 4]]}, {"min_tokens": 3, "stop_token_ids": [2]}]
)
def test_bans_leave_the_callers_logits_alone(settings):
    logits = torch.zeros(1, VOCAB)
    warps = Warps(SamplingParams(**settings), vocabulary_size=VOCAB, prompt_length=1)
    assert warps(logits, [2], Prefixes([0], [[1]])).isinf().any()
    assert not logits.any()
