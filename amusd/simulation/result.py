"""The numbers of one run, each by its formula.

The window of every rate is the decode phase: from the start of the first pass to the last commit.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from amusd.simulation.clock import NS_PER_SECOND
from amusd.simulation.target_worker import TargetWorker
from amusd.speculation.stats import RequestStats
from amusd.tracing import Event, Track, committed_drafts, overlap_ns


@dataclass(frozen=True, slots=True)
class Result:
    """What a run came to; the words are those of docs/design.md.

    Attributes:
        tokens: committed, over all requests.
        seconds: of the decode phase, virtual.
        tokens_per_second: tokens / seconds.
        passes: of the target, each over all requests that decode.
        tokens_per_pass: tokens / (passes that each request took part in).
        acceptance_rate: accepted / verified draft tokens; 0 if none was verified.
        target_busy: time in which a pass ran / seconds.
        draft_busy: time in which a step ran / seconds, mean over the drafters.
        overlap: time in which a pass and the first drafter's step ran / seconds.
        useful_overlap: the part of it in steps of which a node was committed.
        rollbacks: commits that left a request's tree.
        corrections: passes, per request, in which a verified node was rejected.
        foreseen_corrections: share of them that a branch held; 0 if there was none.
        drafted: nodes that arrived at the target.
        stale_nodes: those of them whose path had left the log.
        bytes_per_token: estimated message bytes, both directions / tokens.
    """

    tokens: int
    seconds: float
    tokens_per_second: float
    passes: int
    tokens_per_pass: float
    acceptance_rate: float
    target_busy: float
    draft_busy: float
    overlap: float
    useful_overlap: float
    rollbacks: int
    corrections: int
    foreseen_corrections: float
    drafted: int
    stale_nodes: int
    bytes_per_token: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values by name."""
        return asdict(self)


def measure(
    target: TargetWorker,
    drafters: Sequence[Track],
    stats: Sequence[RequestStats],
    end_ns: int,
    bytes_sent: int,
) -> Result:
    """Count a run that is over.

    Args:
        drafters: what each of them did when.
        stats: the target's counts of each request.
        end_ns: when the last token was committed.
        bytes_sent: on all links together.
    """
    track = Track("target", tuple(target.events))
    passes = track.slices("pass")
    start_ns = passes[0].start_ns
    window_ns = end_ns - start_ns
    tokens = sum(each.committed for each in stats)
    verified = sum(each.verified for each in stats)
    corrections = sum(each.corrections for each in stats)
    foreseen = sum(each.foreseen_corrections for each in stats)
    steps = [drafter.slices("draft") for drafter in drafters]
    return Result(
        tokens=tokens,
        seconds=window_ns / NS_PER_SECOND,
        tokens_per_second=tokens * NS_PER_SECOND / window_ns,
        passes=len(passes),
        tokens_per_pass=tokens / sum(each.passes for each in stats),
        acceptance_rate=sum(each.accepted for each in stats) / verified if verified else 0.0,
        target_busy=sum(event.end_ns - event.start_ns for event in passes) / window_ns,
        draft_busy=_mean([_busy_ns(own, start_ns, end_ns) / window_ns for own in steps]),
        overlap=overlap_ns(passes, steps[0], start_ns, end_ns) / window_ns if steps else 0.0,
        useful_overlap=(
            overlap_ns(passes, committed_drafts(drafters[0]), start_ns, end_ns) / window_ns if steps else 0.0
        ),
        rollbacks=sum(each.rollbacks for each in stats),
        corrections=corrections,
        foreseen_corrections=foreseen / corrections if corrections else 0.0,
        drafted=sum(each.drafted for each in stats),
        stale_nodes=sum(each.stale_nodes for each in stats),
        bytes_per_token=bytes_sent / tokens,
    )


def _busy_ns(slices: Sequence[Event], start_ns: int, end_ns: int) -> int:
    """Nanoseconds of disjoint slices within a window."""
    return sum(max(0, min(event.end_ns, end_ns) - max(event.start_ns, start_ns)) for event in slices)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
