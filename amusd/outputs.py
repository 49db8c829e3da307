"""What a caller gets back."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from amusd.logprobs import Logprob
from amusd.speculation.messages import Origin


@dataclass(frozen=True, slots=True)
class DrafterMetrics:
    """What one drafter did for one request; a node that several proposed counts for each of them.

    Args:
        name: `draft 0` and so on for those with a model, in the order in which they were named; lookups have
            names of their own.
        drafted: nodes that it proposed.
        verified: those of them that the target verified.
        accepted: those of them that were committed.
        accepted_alone: those that no other drafter had proposed.
    """

    name: str
    drafted: int
    verified: int
    accepted: int
    accepted_alone: int


@dataclass(frozen=True, slots=True)
class RequestMetrics:
    """How one request went; the terms are those of docs/design.md.

    Rates are shares in [0, 1]; ``mean_acceptance_length`` is tokens committed per pass, the target's own
    token included; ``overlap`` is time in which both sides computed over wall time of the decode phase,
    ``useful_overlap`` the part of it spent on drafts that were committed in the end; both are the engine's
    while the request ran, whatever else ran beside it, and None where others ran on after it, and from a
    server, which measures its overlap for all requests together. ``depth_*`` count verified nodes whose
    parent was accepted by depth, ``rank_*`` guesses below committed tokens by rank among their siblings
    (`amusd.speculation.stats`). ``drafted`` counts the nodes that drafters sent, ``verified`` those that
    passes took, ``accepted`` those of them that were committed. ``preemptions`` counts how often the request
    was set aside because the target's cells ran out. After a target was lost the counts and rates are those
    since it came back. ``queue_seconds`` is the wait for a place, ``first_token_seconds`` the time from there
    to the first commit, ``decode_seconds`` from there to the last.
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
    drafters: tuple[DrafterMetrics, ...] = ()
    preemptions: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values by name."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "RequestMetrics":
        """The inverse of `to_dict`, after JSON too; names of other versions are left out."""
        known = {field.name for field in fields(cls)}
        read: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
            if name in known
        }
        read["drafters"] = tuple(DrafterMetrics(**drafter) for drafter in read.get("drafters", ()))
        return cls(**read)


@dataclass(frozen=True, slots=True)
class RequestOutput:
    """One finished request, or one of several outputs of the same prompt.

    Attributes:
        finish_reason: "stop" or "length".
        notes: what happened beside decoding, in words, such as a drafter that was lost.
        stop_reason: the stop string or the token of `stop_token_ids` that ended it; None for the model's own
            end tokens and for "length".
        index: which of the `n` outputs it is.
        logprobs: per output token, by token id; None if they were not asked for.
        cumulative_logprob: sum of the output tokens' own; None likewise.
        prompt_logprobs: per prompt token, None for the first; with output 0 only.
        siblings: with output 0, the others of `n`.
    """

    prompt: str | None
    prompt_token_ids: tuple[int, ...]
    text: str
    token_ids: tuple[int, ...]
    finish_reason: str
    seed: int
    metrics: RequestMetrics
    notes: tuple[str, ...] = ()
    stop_reason: str | int | None = None
    index: int = 0
    logprobs: list[dict[int, Logprob]] | None = None
    cumulative_logprob: float | None = None
    prompt_logprobs: list[dict[int, Logprob] | None] | None = None
    siblings: tuple["RequestOutput", ...] = ()

    @property
    def outputs(self) -> tuple["RequestOutput", ...]:
        """All outputs of the prompt by index, this one first."""
        return self, *self.siblings


def joined(outputs: Iterable[RequestOutput]) -> RequestOutput:
    """The outputs of one prompt as output 0 with its siblings."""
    first, *others = sorted(outputs, key=lambda output: output.index)
    return replace(first, siblings=tuple(others)) if others else first


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one commit added to a stream.

    ``origins`` says of each token who wrote it: "accepted" an accepted draft, "own" the target itself,
    "foreseen" the target where a branch held its token already; ``spans`` cuts ``text`` into runs by them.
    ``finished`` comes with the last chunk of each output, ``index`` says of which of `n` outputs a chunk is.
    ``logprobs`` are those of ``token_ids``, where they were asked for.
    """

    text: str
    token_ids: tuple[int, ...]
    origins: tuple[Origin, ...]
    spans: tuple[tuple[str, Origin], ...]
    finished: RequestOutput | None = None
    index: int = 0
    logprobs: list[dict[int, Logprob]] | None = None
