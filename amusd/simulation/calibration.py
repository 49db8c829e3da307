"""A scenario made of real runs, to compare the two.

What is read of `amusd generate --json`: token_ids (their count) and, of metrics, acceptance_rate, passes,
rollbacks and foreseen_corrections. What is read of its `--trace`: the slices `pass` (duration, verified) and
`draft` (duration, rows), and the instants `committed`.

Laws:

- Costs are means, not medians: what is compared is a sum of them. How much forwards of the same rows differ
  is taken over too: a policy that waits only while it pays acts on what came late.
- One number is fitted, the rate of the acceptance law, to the tokens that a pass of the runs committed; the
  rest of the law is the scenario's. The acceptance rate would not do: a policy that verifies only what is
  likely keeps it up whatever the drafter is worth. How long passes take and the target waits, what is
  verified, rolled back and foreseen, and with that the throughput, are then predictions.
- Runs of the same settings with other prompts and seeds are counted together: 300 tokens are few.
"""

import json
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

from amusd.errors import InputError
from amusd.simulation.curves import CostCurve, CostPoint
from amusd.simulation.scenario import Scenario
from amusd.simulation.world import simulate

OVERHEAD_QUANTILE, LATENCY_QUANTILE = 0.25, 0.02  # above them, gaps are waits and not work
RATE_STEPS = 8  # halvings of the interval in which the rate is searched

_Slice = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Measured:
    """Real runs, each of one request, counted together.

    Attributes:
        runs: how many.
        tokens: of all their outputs.
        seconds: of their decode phases: from the start of the first pass to the end of the last.
        passes, verified, accepted, rollbacks, foreseen_corrections: the target's counts.
        pass_ms: mean milliseconds of a pass, by its padded rows.
        step_ms: mean milliseconds of a draft step, by the nodes that it expanded; empty without a draft.
        pass_jitter, step_jitter: standard deviation of a forward over the mean of its kind.
        pass_overhead_ms, step_overhead_ms: of the host, between two that follow each other at once.
        latency_ms: from the end of a pass to the drafter's log, when the drafter was not busy.
    """

    runs: int
    tokens: int
    seconds: float
    passes: int
    verified: int
    accepted: int
    rollbacks: int
    foreseen_corrections: int
    pass_ms: dict[int, float]
    step_ms: dict[int, float]
    pass_jitter: float
    step_jitter: float
    pass_overhead_ms: float
    step_overhead_ms: float
    latency_ms: float


@dataclass(slots=True)
class _Tally:
    """What one run after the other adds up to."""

    runs: int = 0
    tokens: int = 0
    seconds: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    passes: list[_Slice] = field(default_factory=list)
    steps: list[_Slice] = field(default_factory=list)
    pass_gaps_ms: list[float] = field(default_factory=list)
    step_gaps_ms: list[float] = field(default_factory=list)
    step_to_pass_ms: list[float] = field(default_factory=list)
    commit_delays_ms: list[float] = field(default_factory=list)


def read_runs(files: Sequence[tuple[Path, Path]], rows_step: int) -> Measured:
    """Read what `amusd generate --json --trace` left.

    Args:
        files: of each run the printed object and the trace; all with the same settings.
        rows_step: a pass's rows are padded to a multiple of this.

    Raises:
        InputError: a file cannot be read, is something else, or is of several requests or drafters.
    """
    tally = _Tally()
    for output, trace in files:
        _add(tally, output, trace)
    passes = _by_rows(tally.passes, lambda each: -(-(each["args"]["verified"] + 1) // rows_step) * rows_step)
    steps = _by_rows(tally.steps, lambda each: each["args"]["rows"])
    return Measured(
        runs=tally.runs,
        tokens=tally.tokens,
        seconds=tally.seconds,
        passes=len(tally.passes),
        verified=sum(each["args"]["verified"] for each in tally.passes),
        accepted=tally.counts["accepted"],
        rollbacks=tally.counts["rollbacks"],
        foreseen_corrections=tally.counts["foreseen_corrections"],
        pass_ms={rows: fmean(own) for rows, own in passes.items()},
        step_ms={rows: fmean(own) for rows, own in steps.items()},
        pass_jitter=_jitter(passes),
        step_jitter=_jitter(steps),
        pass_overhead_ms=_pass_overhead_ms(tally),
        step_overhead_ms=_quantile(tally.step_gaps_ms, OVERHEAD_QUANTILE),
        latency_ms=_quantile(tally.commit_delays_ms, LATENCY_QUANTILE),
    )


def _pass_overhead_ms(tally: _Tally) -> float:
    """Between passes; in turns that is a wait for whole steps, and there the last of them counts."""
    gap_ms = _quantile(tally.pass_gaps_ms, OVERHEAD_QUANTILE)
    step_ms = fmean(each["dur"] / 1e3 for each in tally.steps) if tally.steps else gap_ms
    return gap_ms if gap_ms <= step_ms else _quantile(tally.step_to_pass_ms, OVERHEAD_QUANTILE)


def _add(tally: _Tally, output: Path, trace: Path) -> None:
    printed, events = _read(output), _read(trace).get("traceEvents", [])
    names = {event["args"]["name"]: event["pid"] for event in events if event["ph"] == "M"}
    passes = _slices(events, names.get("target"), "pass")
    if not passes or "metrics" not in printed or max(each["args"]["requests"] for each in passes) > 1:
        raise InputError("trace", str(trace), "is not of one request; give what amusd generate wrote")
    if len(names) > 2:
        raise InputError("trace", str(trace), "is of several drafters; give a run with one")
    drafter = next((pid for name, pid in names.items() if name != "target"), None)
    steps = _slices(events, drafter, "draft")
    metrics = printed["metrics"]
    tally.runs += 1
    tally.tokens += len(printed["token_ids"])
    tally.seconds += (_end(passes[-1]) - passes[0]["ts"]) / 1e6
    verified = sum(each["args"]["verified"] for each in passes)
    tally.counts["accepted"] += round(metrics["acceptance_rate"] * verified)
    for name in ("rollbacks", "foreseen_corrections"):
        tally.counts[name] += metrics[name]
    tally.passes += passes
    tally.steps += steps
    tally.pass_gaps_ms += _gaps_ms(passes)
    tally.step_gaps_ms += _gaps_ms(steps)
    notes = [each["ts"] for each in events if each["name"] == "committed" and each["pid"] == drafter]
    tally.commit_delays_ms += _since_ms([_end(each) for each in passes], notes)
    tally.step_to_pass_ms += _since_ms([_end(each) for each in steps], [each["ts"] for each in passes])


def calibrate(scenario: Scenario, measured: Measured, seeds: Sequence[int]) -> Scenario:
    """The scenario with the costs, the delays and the acceptance of real runs.

    Args:
        scenario: its mode, K and prompt must be the runs'; its acceptance law lends its shape.
        seeds: over which the fit is averaged; compare with the same ones.
    """
    values = scenario.model_dump()
    values["output_tokens"] = round(measured.tokens / measured.runs)
    target, drafters = values["target"], values["drafters"]
    target["curve"] = _curve(measured.pass_ms, scenario.target.curve.rows_step, measured.pass_jitter)
    target["overhead_ms"] = measured.pass_overhead_ms
    if measured.step_ms:
        drafters["curve"] = _curve(measured.step_ms, 1, measured.step_jitter)
        drafters["overhead_ms"] = measured.step_overhead_ms
        values["network"]["latency_ms"] = measured.latency_ms
    timed = Scenario(**values)
    if not measured.verified:
        return timed
    rate = _fitted_rate(timed, measured.tokens / measured.passes, seeds)
    return timed.with_value("drafters.acceptance.rate", rate)


def _fitted_rate(scenario: Scenario, tokens_per_pass: float, seeds: Sequence[int]) -> float:
    """The law's rate at which simulated passes commit what real ones did."""
    low, high = 0.0, 1.0
    for _ in range(RATE_STEPS):
        middle = (low + high) / 2
        trial = scenario.with_value("drafters.acceptance.rate", middle)
        found = fmean(simulate(trial.with_value("seed", seed)).result.tokens_per_pass for seed in seeds)
        low, high = (middle, high) if found < tokens_per_pass else (low, middle)
    return (low + high) / 2


def _read(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError("file", str(path), f"cannot be read as JSON: {error}") from None
    if not isinstance(values, dict):
        raise InputError("file", str(path), "holds no JSON object")
    return values


def _slices(events: Sequence[_Slice], process: int | None, name: str) -> list[_Slice]:
    return [each for each in events if each["ph"] == "X" and each["pid"] == process and each["name"] == name]


def _end(event: _Slice) -> float:
    return float(event["ts"] + event["dur"])


def _by_rows(slices: Sequence[_Slice], rows: Callable[[_Slice], int]) -> dict[int, list[float]]:
    """Milliseconds of the slices, by their rows."""
    groups: dict[int, list[float]] = {}
    for each in slices:
        groups.setdefault(rows(each), []).append(each["dur"] / 1e3)
    return dict(sorted(groups.items()))


def _jitter(groups: Mapping[int, Sequence[float]]) -> float:
    """Standard deviation over the means of the groups; 0 without any."""
    ratios = [ms / fmean(own) for own in groups.values() for ms in own]
    return min(1.0, pstdev(ratios)) if ratios else 0.0


def _gaps_ms(slices: Sequence[_Slice]) -> list[float]:
    return [(after["ts"] - _end(before)) / 1e3 for before, after in pairwise(slices)]


def _since_ms(ends: Sequence[float], starts: Sequence[float]) -> list[float]:
    """From the last of some ends to each of some starts, where there was one before it."""
    return [
        (start - ends[bisect_right(ends, start) - 1]) / 1e3 for start in starts if ends and start >= ends[0]
    ]


def _quantile(values: Sequence[float], share: float) -> float:
    """The value that `share` of all are below; 0 without any."""
    return max(0.0, sorted(values)[int(len(values) * share)]) if values else 0.0


def _curve(ms: Mapping[int, float], rows_step: int, jitter: float) -> dict[str, Any]:
    points = [CostPoint(rows=rows, ms=cost) for rows, cost in ms.items()]
    return CostCurve(
        source="measured: the runs' traces, means", points=points, rows_step=rows_step, jitter=jitter
    ).model_dump()
