"""The numbers of one request, each by its formula (docs/design.md, Words)."""

from collections.abc import Mapping, Sequence
from typing import Any

from amusd.coordinator.live import LiveRequest
from amusd.outputs import DrafterMetrics, RequestMetrics
from amusd.tracing import Track, committed_drafts, overlap_ns


def request_metrics(
    request: LiveRequest,
    output_length: int,
    target: Track,
    drafters: Sequence[Track],
    names: Mapping[int, str],
    *,
    traced: bool,
) -> RequestMetrics:
    """Metrics of a request whose last commit is here.

    Args:
        output_length: tokens of output, up to a stop string.
        target: the target's events since the request began, on the coordinator's clock.
        drafters: the same of each drafter.
        names: what drafters are called, by their incarnations.
        traced: whether those events were asked for.
    """
    counts = request.statistics or {}
    first = request.first_commit_ns or request.started_ns
    last = request.output_ended_ns or request.last_commit_ns or first
    decode_ns = max(1, last - first)
    passes = target.slices("pass")
    both = useful = 0
    for drafter in drafters:
        both = max(both, overlap_ns(passes, drafter.slices("draft"), first, last))
        useful = max(useful, overlap_ns(passes, committed_drafts(drafter), first, last))
    verified, accepted = counts.get("verified", 0), counts.get("accepted", 0)
    pass_count = counts.get("passes", 0)
    seconds = max(1, last - request.started_ns) / 1e9
    return RequestMetrics(
        tokens_per_second=output_length / seconds,
        queue_seconds=(request.started_ns - request.arrived_ns) / 1e9,
        first_token_seconds=(first - request.started_ns) / 1e9,
        decode_seconds=(last - first) / 1e9,
        acceptance_rate=accepted / verified if verified else 0.0,
        mean_acceptance_length=counts.get("committed", 0) / pass_count if pass_count else 0.0,
        passes=pass_count,
        drafted=counts.get("drafted", 0),
        verified=verified,
        accepted=accepted,
        rollbacks=counts.get("rollbacks", 0),
        corrections=counts.get("corrections", 0),
        foreseen_corrections=counts.get("foreseen_corrections", 0),
        stale_nodes=counts.get("stale_nodes", 0),
        dropped_nodes=counts.get("dropped_nodes", 0),
        overlap=both / decode_ns if traced else None,
        useful_overlap=useful / decode_ns if traced else None,
        **{name: tuple(counts.get(name, ())) for name in ("depth_verified", "depth_accepted")},
        **{name: tuple(counts.get(name, ())) for name in ("rank_seen", "rank_hits")},
        drafters=_credits(counts.get("credits", ()), names),
        preemptions=counts.get("preemptions", 0),
    )


def _credits(rows: Sequence[Sequence[Any]], names: Mapping[int, str]) -> tuple[DrafterMetrics, ...]:
    """What each drafter did; one that was started again during the request is one drafter.

    Args:
        rows: of each incarnation, or of each lookup by its name: the four counts.
    """
    sums: dict[str, list[int]] = {}
    for source, *counts in rows:
        name = source if isinstance(source, str) else names.get(source, f"drafter {source}")
        sums[name] = [sum(pair) for pair in zip(sums.get(name, [0] * len(counts)), counts, strict=True)]
    return tuple(DrafterMetrics(name, *counts) for name, counts in sorted(sums.items()))
