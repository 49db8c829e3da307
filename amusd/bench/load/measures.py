"""What the runs of a contender at one rate say; each formula is in benchmarks/README.md."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from amusd.bench.load.runs import HeldRun, Request, Run
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
        finished, offered, compared, exact: requests.
        tokens_per_pass: of finished requests, the target's own token included, by the kind of their prompts;
            none of who counts no passes.
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
    compared: int
    exact: int
    tokens_per_pass: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class HeldMeasures:
    """One contender with so many requests at all times, over all repeats.

    Args:
        tokens_per_second: by repeat.
        over: that of another contender, within each repeat, by the other's key.
    """

    contender: str
    live: int
    tokens_per_second: Spread
    over: Mapping[str, Spread]


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


def measure(runs: Sequence[Run], alone: Sequence[Run] = (), kinds: Sequence[str] = ()) -> Measures:
    """Put the repeats of one contender at one rate together.

    Args:
        runs: at least one.
        alone: those of the target alone at this rate, in the same order; none leaves `over_alone` out.
        kinds: of the jobs' prompts, by job; none leaves `tokens_per_pass` out.
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
        compared=sum(request.exact is not None for request in done),
        exact=sum(request.exact is True for request in done),
        tokens_per_pass=_tokens_per_pass(done, kinds) if kinds else {},
    )


def measure_held(runs: Sequence[HeldRun], others: Mapping[str, Sequence[HeldRun]]) -> HeldMeasures:
    """Put the repeats of one contender with one number of live requests together.

    Args:
        runs: at least one.
        others: by key, those that it is set against, in the same order; who finished nothing is left out.
    """
    rates = [run.tokens_per_second for run in runs]
    below = {key: [run.tokens_per_second for run in theirs] for key, theirs in others.items()}
    return HeldMeasures(
        contender=runs[0].contender,
        live=runs[0].live,
        tokens_per_second=spread(rates),
        over={
            key: paired_ratio(rates, theirs)
            for key, theirs in below.items()
            if len(theirs) == len(rates) and all(theirs)
        },
    )


def _tokens_per_pass(done: Sequence[Request], kinds: Sequence[str]) -> dict[str, float]:
    """The mean acceptance length by kind."""
    found = {}
    for kind in dict.fromkeys(kinds):
        mine = [request for request in done if kinds[request.job] == kind]
        if passes := sum(request.passes for request in mine):
            found[kind] = sum(request.tokens for request in mine) / passes
    return found


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
