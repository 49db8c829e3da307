"""The messages that the two sides of a link exchange, as frozen values.

Laws:

- A message is a value: frozen, compared by content, and it never shares memory with an endpoint.
- Positions are absolute and count the prompt: the log of a request is its prompt plus its output.
- A node's parent is either a node id (``parent >= 0``) or the committed prefix of length ``-parent``.
- No field changes its meaning with another field's value.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NewType, get_args

RequestId = NewType("RequestId", int)
NodeId = NewType("NodeId", int)
DrafterId = NewType("DrafterId", int)
Final = Literal["stop", "length", "abort"]
Origin = Literal["own", "accepted", "foreseen"]
"""Who wrote a token: the target itself, a draft whose token it accepted, or the target where the tree held
its token all the same."""
ORIGINS: tuple[Origin, ...] = get_args(Origin)

SCORE_STEPS = 8
"""Of the log odds of a score, as it travels: finer than what is learned of them (`policies.calibration`)."""
SCORE_LEVEL_MAX = 240  # log odds from -15 to 15


def prefix_parent(length: int) -> int:
    """Return how a node names the committed prefix of `length` tokens as its parent."""
    return -length


def score_level(score: float) -> int:
    """A score in (0, 1] as steps of its log odds, 0 to ``SCORE_LEVEL_MAX``."""
    middle = SCORE_LEVEL_MAX // 2
    if score >= 1:
        return SCORE_LEVEL_MAX
    return min(SCORE_LEVEL_MAX, max(0, middle + round(SCORE_STEPS * math.log(score / (1 - score)))))


def score_of_level(level: int) -> float:
    """The score of a level."""
    return 1 / (1 + math.exp((SCORE_LEVEL_MAX // 2 - level) / SCORE_STEPS))


@dataclass(frozen=True, slots=True)
class Node:
    """One guessed token.

    Attributes:
        id: the drafter's own name for it, scoped to its incarnation; strictly increasing per request.
        parent: a node id of the same request if >= 0, else minus the length of a committed prefix.
        token: the guessed token id.
        score: the drafter's estimate of P(token | parent path), in (0, 1].
    """

    id: NodeId
    parent: int
    token: int
    score: float


@dataclass(frozen=True, slots=True)
class Draws:
    """The siblings that a verification rule drew below one node: whole, or not there at all.

    What the target emits after the node is a law of these draws, so none may be left out, whatever became of
    the nodes that stand for them.

    Attributes:
        tokens: in drawing order, with repetitions.
        ids: token ids of the law that they were drawn from, ascending.
        weights: what that law gives to each of `ids`, up to a common factor; every number is a float32.
    """

    tokens: tuple[int, ...]
    ids: tuple[int, ...]
    weights: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Hello:
    """The drafter's first message on a link: who it is and which logs it holds, by length."""

    incarnation: int
    lengths: Mapping[RequestId, int]


@dataclass(frozen=True, slots=True)
class Propose:
    """Nodes for one request, parents before children, and what was drawn below some of them.

    Attributes:
        draws: by parent, named as in `Node`; each parent comes in this message at the latest.
    """

    request: RequestId
    nodes: tuple[Node, ...]
    draws: Mapping[int, Draws] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Have:
    """A reader saw a gap and holds `length` tokens; the answer is one Commit from there."""

    request: RequestId
    length: int


@dataclass(frozen=True, slots=True)
class Attached:
    """The target's word on attach: cut the log to `start` tokens, then append `tokens`."""

    request: RequestId
    start: int
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Commit:
    """Tokens that became final, from position `start` on.

    Attributes:
        incarnation: the target incarnation that decided them.
        origins: of each token.
        final: why the request ended with the last of these tokens, or None while it goes on.
    """

    request: RequestId
    incarnation: int
    start: int
    tokens: tuple[int, ...]
    origins: tuple[Origin, ...]
    final: Final | None


@dataclass(frozen=True, slots=True)
class Price:
    """What a node has to be worth to a pass, as the chance that the target gets there; advice, no law."""

    reach: float


@dataclass(frozen=True, slots=True)
class Close:
    """The request is over for this drafter: forget it."""

    request: RequestId
