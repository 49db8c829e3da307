"""The coordinator's ledger of one request: what was delivered to the client.

Laws:

- A token is delivered once, in order, and never taken back: the ledger is the truth across target
  incarnations, and a request is opened again with the prompt plus everything delivered.
- A target, old or new, that commits another token at a delivered position broke the protocol.
- A commit of a retired incarnation is ignored: nobody speaks for a target that is gone.
- One final, the target's; what arrives after it is ignored.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from amusd.errors import ProtocolError
from amusd.speculation.log import CommitLog, GapError
from amusd.speculation.messages import Commit, Final, Have, Origin, RequestId


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a commit brought.

    Attributes:
        tokens: new tokens for the client.
        origins: of each of them.
        final: why the request ended with them, or None.
        have: what to tell the target if the commit left a gap, else None.
    """

    tokens: tuple[int, ...] = ()
    origins: tuple[Origin, ...] = ()
    final: Final | None = None
    have: Have | None = None


class Ledger:
    """One request's prompt and delivered output."""

    def __init__(self, request: RequestId, prompt: Sequence[int]) -> None:
        self.request = request
        self._log = CommitLog(prompt)
        self._incarnation: int | None = None
        self._retired: int | None = None

    @property
    def tokens(self) -> Sequence[int]:
        """Prompt plus delivered tokens, as a live view: what to open the request with elsewhere."""
        return self._log.tokens

    @property
    def length(self) -> int:
        """How many tokens there are, the prompt included."""
        return self._log.length

    @property
    def final(self) -> Final | None:
        """Why the request ended, or None while it goes on."""
        return self._log.final

    def on_commit(self, commit: Commit) -> Delivery:
        """Take a commit of the feed and return what is new for the client.

        Raises:
            ProtocolError: it contradicts a delivered token, or ends before what was delivered.
        """
        if self._log.final is not None or commit.incarnation == self._retired:
            return Delivery()
        self._incarnation = commit.incarnation
        try:
            new = self._log.append(commit.start, commit.tokens)
        except GapError as gap:
            return Delivery(have=Have(self.request, gap.have))
        if commit.final is not None:
            self._check_end(commit)
            self._log.finish(commit.final)
        return Delivery(new, commit.origins[len(commit.origins) - len(new) :], commit.final)

    def reopen(self) -> tuple[int, ...]:
        """Retire the target incarnation that spoke last; returns the tokens to open the request with."""
        self._retired = self._incarnation
        return self._log.since(0)

    def _check_end(self, commit: Commit) -> None:
        end = commit.start + len(commit.tokens)
        if end != self._log.length:
            raise ProtocolError(
                f"target: request {self.request} ends at {end}, {self._log.length} tokens were delivered"
            )
