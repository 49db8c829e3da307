"""The commit log of one request: its committed tokens, prompt included.

Laws:

- Append-only: a committed token never changes. Saying a known token again changes nothing;
  saying another one is a protocol error, and then nothing at all was appended.
- No holes: tokens that start beyond the end are a gap, reported with the length held.
- It ends once: after `finish` no token is appended.
- Only a statement that outranks this copy (the target's word on attach) may truncate it.
"""

from collections.abc import Sequence

from amusd.errors import AmusdError, ProtocolError
from amusd.speculation.messages import Final


class GapError(AmusdError):
    """Tokens arrived that start beyond the end of the log; `have` is the length held."""

    def __init__(self, have: int, start: int) -> None:
        super().__init__(f"the log holds {have} tokens, the commit starts at {start}: send from {have}")
        self.have = have


class CommitLog:
    """An append-only list of tokens that checks what it is told again."""

    def __init__(self, tokens: Sequence[int]) -> None:
        if not tokens:
            raise ProtocolError("a request was opened with no tokens: its log needs at least one")
        self._tokens = list(tokens)
        self._final: Final | None = None

    @property
    def tokens(self) -> Sequence[int]:
        """All committed tokens, as a live view: read it, do not keep it."""
        return self._tokens

    @property
    def length(self) -> int:
        """How many tokens are committed, the prompt included."""
        return len(self._tokens)

    @property
    def last(self) -> int:
        """The last committed token: the root of the tree."""
        return self._tokens[-1]

    @property
    def final(self) -> Final | None:
        """Why the request ended, or None while it goes on."""
        return self._final

    def since(self, start: int) -> tuple[int, ...]:
        """Return a copy of the tokens from position `start` on."""
        return tuple(self._tokens[start:])

    def append(self, start: int, tokens: Sequence[int]) -> tuple[int, ...]:
        """Append what is new of `tokens`, the first of which stands at position `start`.

        Returns:
            The tokens that were not known before, in order.

        Raises:
            GapError: `start` lies beyond the end.
            ProtocolError: a token differs from the one known at its position, or comes after the end.
        """
        have = self.length
        if start < 0:
            raise ProtocolError(f"a commit starts at {start}: positions start at 0")
        if start > have:
            raise GapError(have, start)
        for position, token in enumerate(tokens[: have - start], start):
            self._check_known(position, token)
        new = tuple(tokens[have - start :])
        if new and self._final is not None:
            raise ProtocolError(f"{len(new)} tokens committed after the end ({self._final}) at length {have}")
        self._tokens.extend(new)
        return new

    def _check_known(self, position: int, token: int) -> None:
        known = self._tokens[position]
        if token != known:
            raise ProtocolError(f"position {position} holds token {known}, the sender commits {token} there")

    def finish(self, final: Final) -> None:
        """End the log for the reason `final`; the first reason stays."""
        if self._final is None:
            self._final = final

    def truncate(self, length: int) -> None:
        """Forget what lies beyond `length` tokens, on the word of the side that owns the truth.

        Raises:
            ProtocolError: `length` is below 1 or beyond the end.
        """
        if not 1 <= length <= self.length:
            raise ProtocolError(f"cannot truncate a log of {self.length} tokens to {length}")
        del self._tokens[length:]
        self._final = None
