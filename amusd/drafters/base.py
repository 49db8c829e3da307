"""What is asked of a drafter: of one with a model, by a draft worker; of a lookup, by the target itself.

Laws:
- A drafter only guesses: nothing that it returns can change a token of the text.
- It never waits, and never fails on a node whose fate it has not heard of yet.
- `expand` is one batched step; it answers every item with at least one candidate, so that no node is
  asked about for ever.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from amusd.params import SamplingParams
from amusd.speculation.messages import Draws, NodeId, RequestId

Candidates = list[tuple[int, float]]
"""(token, score) pairs, best first; a score estimates P(token | parent path) and is in (0, 1]."""

Guesses = list[tuple[int, int, float]]
"""(parent, token, score) triples, parents first; a parent is a place in the list, or -1: where they begin."""


@dataclass(frozen=True, slots=True)
class Expansion:
    """A node whose children are wanted.

    Attributes:
        request: whose tree it is in.
        node: its id, or None for the root, the last committed token.
        token: its token.
        position: its absolute position; the children are at the next one.
        ancestors: ids from below the root down to its parent; each was expanded before.
        path: tokens from below the root down to its own; empty for the root.
        count: candidates wanted.
    """

    request: RequestId
    node: NodeId | None
    token: int
    position: int
    ancestors: tuple[NodeId, ...]
    path: tuple[int, ...]
    count: int


class Drafter(Protocol):
    """Guesses the next tokens of many requests at once; owned by one thread.

    Attributes:
        step_seconds: of a step of one request by its rows, as far as it was measured.
    """

    step_seconds: Mapping[int, float]

    @property
    def length_max(self) -> int:
        """Positions that it has; a node at or beyond this one must not be expanded."""

    def describe(self) -> dict[str, Any]:
        """Facts for the start-up print, in plain JSON types."""

    def open(
        self,
        request: RequestId,
        tokens: Sequence[int],
        prompt_length: int,
        params: SamplingParams,
        seed: int,
        *,
        sample_index: int = 0,
        end_tokens: Collection[int] = (),
    ) -> None:
        """Take a request whose log is `tokens`, without much work: that is `read`.

        Raises:
            InputError: the request cannot be taken; the drafter is as it was.
        """

    def read(self, request: RequestId, rows_max: int) -> int:
        """Work through at most so many tokens of the log; how many are left to read before an expansion."""

    def close(self, request: RequestId) -> None:
        """Forget a request."""

    def expand(self, items: Sequence[Expansion]) -> list[Candidates]:
        """The children of some live nodes, one list per item, in one step.

        Args:
            items: not empty; no two for the same node, none an ancestor of another.
        """

    def on_commit(
        self,
        request: RequestId,
        committed: Mapping[NodeId, int],
        dropped: Sequence[NodeId],
        tokens: Sequence[int],
        length: int,
    ) -> None:
        """The log grew.

        Args:
            committed: nodes that are part of the log now, each with its position.
            dropped: nodes that left the tree.
            tokens: what was appended.
            length: of the log now.
        """

    def truncate(self, request: RequestId, tokens: Sequence[int]) -> None:
        """The log was replaced by `tokens`, all nodes are gone; a shared beginning may be kept."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """The children of a node, as a verification rule drew them.

    Attributes:
        candidates: each token that was drawn, once, in drawing order.
        draws: what the target has to know; None where it emits its own token whatever was drawn.
    """

    candidates: Candidates
    draws: Draws | None


@runtime_checkable
class DrawingDrafter(Drafter, Protocol):
    """A drafter that draws siblings from a law which it can tell."""

    def draw(self, items: Sequence[Expansion]) -> list[Drawn]:
        """What `expand` does, by the rule: as many draws as an item wants, or as many as the rule has."""


class Lookup(Protocol):
    """A drafter without a model: it looks up what followed before.

    It lives at the target's side, on the thread that runs the passes, and guesses right after each commit: so
    every call has to take microseconds.

    Attributes:
        name: what users call it.
    """

    name: str

    def describe(self) -> str:
        """What it is and how large, for the start-up print."""

    def open(self, request: RequestId) -> None:
        """Take a request with an empty log."""

    def close(self, request: RequestId) -> None:
        """Forget a request."""

    def follow(self, request: RequestId, tokens: Sequence[int]) -> None:
        """The log goes on with these tokens, the prompt's first."""

    def guess(self, request: RequestId, depth: int) -> Guesses:
        """What may follow the log, at most `depth` tokens deep and `depth` x `LOOKUP_BRANCHES_MAX` in all.

        Args:
            depth: at least 1.
        """


LOOKUP_BRANCHES_MAX = 3
"""Guesses of a lookup for one position: what bounds its share of the target's tree and of its time."""
