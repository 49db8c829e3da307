"""From tokens to text, one token at a time, in whole characters.

A token's text depends on what stands before it (SentencePiece drops the space before the first word, a byte
may complete a character), so a few tokens before the new ones are decoded with them, and what they gave alone
is taken off. The `DecodeStream` of the tokenizers library works the same way, but raises where decoding more
tokens changes what fewer gave, and repeats a prompt that ends inside a character.
"""

from collections.abc import Sequence
from typing import Any

CONTEXT_TOKENS_MIN = 8  # of a prompt; a character is at most four tokens
UNFINISHED = "\N{REPLACEMENT CHARACTER}"


class Detokenizer:
    """The text of the tokens that follow a prompt.

    Args:
        tokenizer: a transformers tokenizer backed by the tokenizers library.
        prompt: its last tokens are the context of the first new ones.
        skip_special: leave special tokens out.
    """

    def __init__(self, tokenizer: Any, prompt: Sequence[int], *, skip_special: bool = True) -> None:
        self._backend = tokenizer.backend_tokenizer
        self._skip_special = skip_special
        self._tokens = self._context(prompt)  # the context, then what gave no text yet
        self._context_length = len(self._tokens)
        self._known = self._decode(self._tokens)

    def push(self, token: int) -> str:
        """The text that is whole with this token; empty while it ends inside a character."""
        self._tokens.append(token)
        text = self._decode(self._tokens)
        if text.endswith(UNFINISHED):
            return ""
        return self._advance(text)

    def finish(self) -> str:
        """The rest, a replacement for an unfinished character included."""
        return self._advance(self._decode(self._tokens))

    def _advance(self, text: str) -> str:
        fresh = self._fresh(text)
        if fresh:
            self._tokens = self._tokens[self._context_length :]
            self._context_length = len(self._tokens)
            self._known = self._decode(self._tokens)
        return fresh

    def _fresh(self, text: str) -> str:
        """What ``text``, of all tokens, adds to what the context gave."""
        # The prompt may end inside a character; the whole of it is new then.
        for known in (self._known, self._known.rstrip(UNFINISHED)):
            if text.startswith(known):
                return text[len(known) :]
        # The context reads otherwise with more tokens behind it, and its text is out already.
        return self._decode(self._tokens[self._context_length :])

    def _context(self, prompt: Sequence[int]) -> list[int]:
        """The end of a prompt, long enough not to begin inside a character."""
        count = CONTEXT_TOKENS_MIN
        while count < len(prompt) and self._decode(prompt[-count:]).startswith(UNFINISHED):
            count *= 2
        return list(prompt[-count:])

    def _decode(self, tokens: Sequence[int]) -> str:
        return str(self._backend.decode(list(tokens), skip_special_tokens=self._skip_special))
