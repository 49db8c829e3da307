"""Log-probabilities of one position: as they travel, and as a caller gets them."""

from collections.abc import Callable
from dataclasses import dataclass

from amusd.speculation.messages import RequestId


@dataclass(frozen=True, slots=True)
class RowLogprobs:
    """What the target's raw law said at one position.

    Attributes:
        token_ids: the token that stands there, then the most likely ones, likeliest first.
        logprobs: the float32 log-probability of each of them.
        rank: of the token that stands there: how many tokens are at least as likely, itself included.
    """

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    rank: int


@dataclass(frozen=True, slots=True)
class PlacedLogprobs:
    """A row, whose it is and at which absolute position."""

    request: RequestId
    position: int
    row: RowLogprobs


@dataclass(frozen=True, slots=True)
class Logprob:
    """One token's log-probability, its rank (1 is the most likely) and its text, as vLLM returns it."""

    logprob: float
    rank: int | None = None
    decoded_token: str | None = None


def named_logprobs(row: RowLogprobs, decode: Callable[[int], str]) -> dict[int, Logprob]:
    """A row by token id: the token that stands there first, then the most likely ones by rank."""
    ranks = (row.rank, *range(1, len(row.token_ids)))
    return {
        token: Logprob(logprob, rank, decode(token))
        for token, logprob, rank in zip(row.token_ids, row.logprobs, ranks, strict=True)
    }
