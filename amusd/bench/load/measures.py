"""What the runs of a contender at one rate say; each formula is in benchmarks/README.md."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from amusd.bench.load.runs import Request, Run
from amusd.bench.statistics import Spread, paired_ratio, spread


@dataclass(frozen=True, slots=True)
class Distribution:
    """Seconds, over requests."""

    mean: float
    p50: float
    p99: float


@dataclass(frozen=True, slots=True)
class Measures:
    """One contender at one rate, over all repeats.

    Args:
        goodput: tokens per second of finished requests, by repeat.
        over_alone: goodput over that of the target alone, within each repeat; None without it.
        latency, first_token, per_token: of finished requests; None where no request has one.
        in_flight: mean number of requests that are decoded or wait.
        verified: drafted tokens per pass and request.
        accepted: share of them that was committed; None where none was verified.
        finished, offered, exact: requests.
    """

    contender: str
    rate: float
    goodput: Spread
    over_alone: Spread | None
    latency: Distribution | None
    first_token: Distribution | None
    per_token: Distribution | None
    in_flight: float
    verified: float
    accepted: float | None
    finished: int
    offered: int
    exact: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """A contender against the best of the others at one rate; above 1 is better in both.

    Args:
        goodput, latency: theirs and ours as a ratio: our goodput over theirs, their mean latency over ours.
        goodput_of, latency_of: who is the best of the others.
    """

    contender: str
    rate: float
    goodput: float
    goodput_of: str
    latency: float
    latency_of: str


def goodput(run: Run) -> float:
    """Tokens of finished requests per second of the run."""
    return sum(request.tokens for request in run.finished) / run.seconds


def distribution(values: Iterable[float | None]) -> Distribution | None:
    """Mean and percentiles, linear between neighbours, of the values that there are."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    p50, p99 = np.percentile(known, [50, 99])
    return Distribution(fmean(known), float(p50), float(p99))


def measure(runs: Sequence[Run], alone: Sequence[Run] = ()) -> Measures:
    """Put the repeats of one contender at one rate together.

    Args:
        runs: at least one.
        alone: those of the target alone at this rate, in the same order; none leaves `over_alone` out.
    """
    done = [request for run in runs for request in run.finished]
    passes, verified = sum(r.passes for r in done), sum(r.verified for r in done)
    goodputs, seconds = [goodput(run) for run in runs], sum(run.seconds for run in runs)
    comparable = bool(alone) and all(goodput(run) for run in alone)
    return Measures(
        contender=runs[0].contender,
        rate=runs[0].rate,
        goodput=spread(goodputs),
        over_alone=paired_ratio(goodputs, [goodput(run) for run in alone]) if comparable else None,
        latency=distribution(request.latency for request in done),
        first_token=distribution(request.first_token for request in done),
        per_token=distribution(request.per_token for request in done),
        in_flight=sum(_stay(run, request) for run in runs for request in run.requests) / seconds,
        verified=verified / passes if passes else 0.0,
        accepted=sum(request.accepted for request in done) / verified if verified else None,
        finished=len(done),
        offered=sum(len(run.requests) for run in runs),
        exact=sum(request.exact is True for request in done),
    )


def compare(ours: Measures, others: Sequence[Measures]) -> Comparison | None:
    """Set a contender against the best of the others; None where somebody finished nothing."""
    if not others or any(item.latency is None for item in (ours, *others)):
        return None
    most = max(others, key=lambda item: item.goodput.median)
    soonest = min(others, key=_mean_latency)
    return Comparison(
        contender=ours.contender,
        rate=ours.rate,
        goodput=ours.goodput.median / most.goodput.median,
        goodput_of=most.contender,
        latency=_mean_latency(soonest) / _mean_latency(ours),
        latency_of=soonest.contender,
    )


def _mean_latency(item: Measures) -> float:
    assert item.latency is not None
    return item.latency.mean


def _stay(run: Run, request: Request) -> float:
    """Seconds from arrival until it was finished or the run was ended."""
    return (run.seconds if request.finished is None else request.finished) - request.arrival
