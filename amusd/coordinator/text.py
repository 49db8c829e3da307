"""From committed tokens to text: whole characters only, and never part of a stop string."""

from collections.abc import Sequence
from typing import Any

from amusd.coordinator.detokenizer import Detokenizer


class TextStream:
    """The text of one request as its tokens are committed.

    A character whose bytes are not all there yet is held back, and so is text that may become a stop
    string. Once a stop string is found, the text ends before it and ``stopped`` is True.

    Args:
        tokenizer: a transformers tokenizer backed by the tokenizers library.
        stop: strings that end the text; they are not part of it.
    """

    def __init__(self, tokenizer: Any, prompt: Sequence[int], stop: Sequence[str]) -> None:
        self._detokenizer = Detokenizer(tokenizer, prompt)
        self._stop = tuple(stop)
        self._decoded = ""
        self._held: list[tuple[str, bool]] = []  # pieces not released yet, with their origin
        self.text = ""
        self.stopped = False

    def push(self, token: int, drafted: bool) -> list[tuple[str, bool]]:
        """Add a token; returns the pieces of text that are final now, each with its origin."""
        piece = self._detokenizer.push(token)
        if not piece:
            return []
        self._decoded += piece
        self._held.append((piece, drafted))
        found = self._find_stop()
        if found is not None:
            self.stopped = True
            return self._release(found - len(self.text))
        return self._release(len(self._decoded) - len(self.text) - self._may_be_stop())

    def finish(self) -> list[tuple[str, bool]]:
        """No more tokens: releases what was held, and the replacement for an unfinished character."""
        if self.stopped:
            return []
        rest = self._detokenizer.finish()
        if rest:
            self._decoded += rest
            self._held.append((rest, False))
        return self._release(len(self._decoded) - len(self.text))

    def _find_stop(self) -> int | None:
        """Where the earliest stop string begins, if one is complete. Text already out holds none."""
        starts = (self._decoded.find(stop, len(self.text)) for stop in self._stop)
        return min((start for start in starts if start >= 0), default=None)

    def _may_be_stop(self) -> int:
        """How many characters at the end may be the beginning of a stop string."""
        unreleased = self._decoded[len(self.text) :]
        for count in range(min(len(unreleased), max((len(s) - 1 for s in self._stop), default=0)), 0, -1):
            if any(stop.startswith(unreleased[-count:]) for stop in self._stop):
                return count
        return 0

    def _release(self, count: int) -> list[tuple[str, bool]]:
        """Move the first ``count`` held characters to the text."""
        released = []
        while count > 0:
            piece, drafted = self._held.pop(0)
            part = piece[:count]
            if len(part) < len(piece):
                self._held.insert(0, (piece[count:], drafted))
            released.append((part, drafted))
            self.text += part
            count -= len(part)
        return released
