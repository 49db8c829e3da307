"""Bad words become the token sequences that spell them."""

import pytest

from amusd.coordinator.bad_words import bad_words_ids
from amusd.errors import InputError
from amusd.models import load_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer("demo")


def test_a_word_is_banned_with_and_without_a_space_before_it(tokenizer):
    assert bad_words_ids(tokenizer, ["self"]) == tuple(
        tuple(tokenizer.encode(text)) for text in ("self", " self")
    )
    assert all(len(word) == 1 for word in bad_words_ids(tokenizer, ["self"]))


def test_a_space_that_is_given_makes_no_difference_and_the_same_words_are_one(tokenizer):
    assert bad_words_ids(tokenizer, [" self", "self"]) == bad_words_ids(tokenizer, ["self"])


def test_a_word_whose_spaced_form_begins_alike_is_taken_once():
    class Tokenizer:
        def encode(self, text, add_special_tokens):
            assert not add_special_tokens
            return {"ab": [1, 2], " ab": [1, 3], "c": [4], " c": [5, 4], " ": []}.get(text, [])

    assert bad_words_ids(Tokenizer(), ["ab", "c"]) == ((1, 2), (4,))
    with pytest.raises(InputError, match=r"^bad_words: 'zz'|^bad_words: zz"):
        bad_words_ids(Tokenizer(), ["zz"])
