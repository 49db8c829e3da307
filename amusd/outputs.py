"""What a caller gets back."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class RequestMetrics:
    """How one request went; the terms are those of docs/design.md.

    Rates are shares in [0, 1]; ``mean_acceptance_length`` is tokens committed per pass, the target's
    own token included; ``overlap`` is time in which both sides computed over wall time of the decode
    phase, ``useful_overlap`` the part of it spent on drafts that were committed in the end; both are the
    engine's while the request ran, whatever else ran beside it, and None
    from a server, which measures its overlap for all requests together. ``depth_*`` count verified nodes
    whose parent was accepted by depth, ``rank_*`` guesses below committed tokens by rank among their siblings
    (`amusd.speculation.stats`). ``drafted`` counts the nodes that drafters sent, ``verified`` those that
    passes took, ``accepted`` those of them that were committed. After a target was lost the counts and
    rates are those since it came back. ``queue_seconds`` is the wait for a place, ``first_token_seconds`` the
    time from there to the first commit, ``decode_seconds`` from there to the last.
    """

    tokens_per_second: float
    queue_seconds: float
    first_token_seconds: float
    decode_seconds: float
    acceptance_rate: float
    mean_acceptance_length: float
    passes: int
    drafted: int
    verified: int
    accepted: int
    rollbacks: int
    corrections: int
    foreseen_corrections: int
    stale_nodes: int
    dropped_nodes: int
    overlap: float | None
    useful_overlap: float | None
    depth_verified: tuple[int, ...]
    depth_accepted: tuple[int, ...]
    rank_seen: tuple[int, ...]
    rank_hits: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values by name."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class RequestOutput:
    """One finished request.

    ``notes`` says in words what happened beside decoding, such as a drafter that was lost.
    """

    prompt: str | None
    prompt_token_ids: tuple[int, ...]
    text: str
    token_ids: tuple[int, ...]
    finish_reason: str  # "stop" or "length"
    seed: int
    metrics: RequestMetrics
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one commit added to a stream.

    ``spans`` cuts ``text`` into runs, each with True where an accepted draft token wrote it.
    ``finished`` comes with the last chunk.
    """

    text: str
    token_ids: tuple[int, ...]
    drafted: tuple[bool, ...]
    spans: tuple[tuple[str, bool], ...]
    finished: RequestOutput | None = None
