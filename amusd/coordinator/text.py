"""From committed tokens to text: whole characters only, and never part of a stop string."""

from collections.abc import Sequence
from typing import Any

from amusd.coordinator.detokenizer import Detokenizer
from amusd.speculation.messages import Origin


class TextStream:
    """The text of one request as its tokens are committed.

    A character whose bytes are not all there yet is held back, and so is text that may become a stop
    string. Once a stop string is found, the text ends before it (or with it) and ``stopped_by`` names it.

    Args:
        tokenizer: a transformers tokenizer backed by the tokenizers library.
        stop: strings that end the text.
        include_stop: keep the stop string in the text.
        min_tokens: a stop string counts only if a later token than this many completes it.
        skip_special: leave special tokens out.
    """

    def __init__(
        self,
        tokenizer: Any,
        prompt: Sequence[int],
        stop: Sequence[str],
        *,
        include_stop: bool = False,
        min_tokens: int = 0,
        skip_special: bool = True,
    ) -> None:
        self._detokenizer = Detokenizer(tokenizer, prompt, skip_special=skip_special)
        self._stop = tuple(stop)
        self._include_stop = include_stop
        self._unchecked_tokens = min_tokens  # still to come
        self._unchecked = 0  # characters that no stop string may end in
        self._decoded = ""
        self._held: list[tuple[str, Origin]] = []  # pieces not released yet, with their origin
        self.text = ""
        self.stopped_by: str | None = None

    @property
    def stopped(self) -> bool:
        """Whether a stop string was found: no more tokens are wanted."""
        return self.stopped_by is not None

    def push(self, token: int, origin: Origin) -> list[tuple[str, Origin]]:
        """Add a token; returns the pieces of text that are final now, each with its origin."""
        piece = self._detokenizer.push(token)
        if self._unchecked_tokens:
            self._unchecked_tokens -= 1
            self._unchecked += len(piece)
        if not piece:
            return []
        return self._add(piece, origin)

    def finish(self) -> list[tuple[str, Origin]]:
        """No more tokens: releases what was held, and the replacement for an unfinished character."""
        if self.stopped:
            return []
        rest = self._detokenizer.finish()
        if rest:
            self._decoded += rest
            self._held.append((rest, "own"))
        return self._release(len(self._decoded) - len(self.text))

    def _add(self, piece: str, origin: Origin) -> list[tuple[str, Origin]]:
        self._decoded += piece
        self._held.append((piece, origin))
        found = self._find_stop()
        if found is None:
            return self._release(len(self._decoded) - len(self.text) - self._may_be_stop())
        start, self.stopped_by = found
        end = start + len(self.stopped_by) if self._include_stop else start
        return self._release(end - len(self.text))

    def _find_stop(self) -> tuple[int, str] | None:
        """The earliest stop string that is complete, and where it begins. Text already out holds none."""
        found = []
        for stop in self._stop:
            start = self._decoded.find(stop, max(len(self.text), self._unchecked - len(stop) + 1))
            if start >= 0:
                found.append((start, stop))
        return min(found, key=lambda each: each[0], default=None)

    def _may_be_stop(self) -> int:
        """How many characters at the end may be the beginning of a stop string."""
        unreleased = self._decoded[len(self.text) :]
        for count in range(min(len(unreleased), max((len(s) - 1 for s in self._stop), default=0)), 0, -1):
            if any(stop.startswith(unreleased[-count:]) for stop in self._stop):
                return count
        return 0

    def _release(self, count: int) -> list[tuple[str, Origin]]:
        """Move the first ``count`` held characters to the text."""
        released = []
        while count > 0:
            piece, origin = self._held.pop(0)
            part = piece[:count]
            if len(part) < len(piece):
                self._held.insert(0, (piece[count:], origin))
            released.append((part, origin))
            self.text += part
            count -= len(part)
        return released
