"""Phrases: what the draft began and what the target said instead make later drafts longer.

The idea of Ouroboros (arXiv 2402.13720): tails that were drafted and rejected, and the target's corrections,
often fit a little later. They are kept as phrases and put after the draft's last token, so that a pass
verifies more than the draft had time for.
"""

from collections.abc import Sequence
from typing import Final

from amusd.drafters.base import Guesses
from amusd.speculation.messages import RequestId

KEY_TOKENS: Final = 2  # that a phrase must follow
PHRASE_TOKENS: Final = 4
PHRASES_MAX: Final = 4096  # of a request; the oldest is forgotten
WRITTEN_CLAIM, REJECTED_CLAIM = 0.5, 0.25  # what they are worth, the target learns

_Key = tuple[int, ...]


class PhraseBook:
    """The phrases of one request, each by the tokens before it; a later one replaces an earlier one."""

    def __init__(self) -> None:
        self._phrases: dict[_Key, tuple[tuple[int, ...], float]] = {}

    def __len__(self) -> int:
        return len(self._phrases)

    def learn(self, text: Sequence[int], start: int, claim: float) -> None:
        """Keep the phrases of a text that hold something from position `start` on."""
        for end in range(max(KEY_TOKENS, start - PHRASE_TOKENS + 1), len(text)):
            key = tuple(text[end - KEY_TOKENS : end])
            self._phrases.pop(key, None)  # so that it is the newest
            self._phrases[key] = tuple(text[end : end + PHRASE_TOKENS]), claim
        while len(self._phrases) > PHRASES_MAX:
            del self._phrases[next(iter(self._phrases))]

    def find(self, text: Sequence[int]) -> tuple[tuple[int, ...], float]:
        """The phrase after the end of a text, and what it is said to be worth; empty if there is none."""
        return self._phrases.get(tuple(text[-KEY_TOKENS:]), ((), 0.0))


class Phrases:
    """Lengthens what other drafters proposed; it never begins a guess itself."""

    name = "phrases"

    def __init__(self) -> None:
        self._books: dict[RequestId, PhraseBook] = {}
        self._ends: dict[RequestId, list[int]] = {}  # the last tokens of each log

    def describe(self) -> str:
        """Facts for the start-up print."""
        return f"phrases: rejected tails and corrections, {PHRASE_TOKENS} tokens at a time, after drafts"

    def open(self, request: RequestId) -> None:
        """Take a request with an empty log."""
        self._books[request], self._ends[request] = PhraseBook(), []

    def close(self, request: RequestId) -> None:
        """Forget a request."""
        if self._books.pop(request, None) is not None:
            del self._ends[request]

    def follow(self, request: RequestId, tokens: Sequence[int]) -> None:
        """Learn what the target wrote, corrections included."""
        end = self._ends[request]
        text = [*end, *tokens]
        self._books[request].learn(text, len(end), WRITTEN_CLAIM)
        self._ends[request] = text[-KEY_TOKENS - PHRASE_TOKENS :]

    def guess(self, request: RequestId, depth: int) -> Guesses:
        """Nothing: there is no draft yet that could be lengthened."""
        return []

    def reject(self, request: RequestId, path: Sequence[int]) -> None:
        """Learn a path below the end of the log that the target did not follow to its end.

        To be called before `follow`, which says what it took and corrects what is said here.
        """
        end = self._ends[request]
        self._books[request].learn([*end, *path], len(end), REJECTED_CLAIM)

    def lengthen(self, request: RequestId, path: Sequence[int], depth: int) -> Guesses:
        """A phrase, or several in a row, after a path below the end of the log; at most `depth` tokens."""
        book, text = self._books[request], [*self._ends[request], *path]
        guesses: Guesses = []
        while len(guesses) < depth:
            phrase, claim = book.find(text)
            if not phrase:
                break
            for token in phrase[: depth - len(guesses)]:
                guesses.append((len(guesses) - 1, token, claim))
                text.append(token)
        return guesses
