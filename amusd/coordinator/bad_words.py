"""Bad words as token ids."""

from collections.abc import Sequence
from typing import Any

from amusd.errors import InputError


def bad_words_ids(tokenizer: Any, words: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """The token sequences that spell the words, as vLLM finds them.

    A word is taken as it is and, where that makes another first token and as many tokens, with a space before
    it: at the beginning and in the middle of a text.

    Raises:
        InputError: a word has no tokens.
    """
    found: list[tuple[int, ...]] = []
    for word in words:
        bare = tuple(tokenizer.encode(word.lstrip(), add_special_tokens=False))
        if not bare:
            raise InputError("bad_words", word, "it has no tokens: leave it out")
        spaced = tuple(tokenizer.encode(f" {word.lstrip()}", add_special_tokens=False))
        found.append(bare)
        if spaced and spaced[0] != bare[0] and len(spaced) == len(bare):
            found.append(spaced)
    return tuple(dict.fromkeys(found))
