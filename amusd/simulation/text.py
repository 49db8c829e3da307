"""What the target says: one fixed text per request, known beforehand.

The target's token after a prefix depends on the position alone. That is no loss: the target commits its own
tokens only, so it is never asked what it would have said after others, except in rows that a wrong guess
put below itself, and those rows are discarded.
"""

from amusd.simulation.draws import draw_bits
from amusd.speculation.messages import Commit, RequestId

VOCABULARY_SIZE = 32_000
_TEXT_STREAM = 0


class TrueText:
    """The texts of all requests of a run."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._texts: dict[RequestId, list[int]] = {}

    def token(self, request: RequestId, position: int) -> int:
        """The target's token at an absolute position."""
        known = self._texts.setdefault(request, [])
        while len(known) <= position:
            known.append(draw_bits(self.seed, _TEXT_STREAM, request, len(known)) % VOCABULARY_SIZE)
        return known[position]

    def prompt(self, request: RequestId, length: int) -> tuple[int, ...]:
        """The first tokens of the text."""
        return tuple(self.token(request, position) for position in range(length))

    def first_error(self, commit: Commit) -> int | None:
        """The first position at which committed tokens are not the text, or None."""
        for position, token in enumerate(commit.tokens, commit.start):
            if token != self.token(commit.request, position):
                return position
        return None
