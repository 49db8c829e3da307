"""All runs of `amusd simulate --load`, and what they say."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any, Final

from amusd.simulation.clock import MS_PER_SECOND
from amusd.simulation.load.batches import Batch, run_batch
from amusd.simulation.load.contenders import (
    ALONE,
    FIXED,
    JUDGED,
    TABLE,
    Contender,
    contenders,
    table_contender,
)
from amusd.simulation.load.offered import Offered, run_offered
from amusd.simulation.scenario import Scenario

REQUESTS_MIN: Final = 40  # that arrive in a run, however low the load


@dataclass(frozen=True, slots=True)
class Verdict:
    """One batch or one rate, over all contenders, by tokens per second or by one over the mean latency.

    Args:
        at: requests of the batch, or per second.
        best: the fixed number of drafted tokens that does best, or the target alone.
        best_k: that number; 0: alone.
        worst: the fixed number that does worst.
        harm: what that does over the target alone; below 1 it harms.
        judged: what `goodput` does over `best`.
    """

    at: float
    best: str
    best_k: int
    worst: str
    harm: float
    judged: float


@dataclass(frozen=True, slots=True)
class LoadResult:
    """Everything that was measured.

    Args:
        contenders: in their order.
        capacity: requests per second that the target alone bears.
    """

    scenario: Scenario
    contenders: tuple[Contender, ...]
    batches: tuple[Batch, ...]
    capacity: float
    offered: tuple[Offered, ...]

    def batch_verdicts(self) -> list[Verdict]:
        """One for each batch."""
        return self._verdicts(
            (item.requests, item.contender, item.tokens_per_second) for item in self.batches
        )

    def rate_verdicts(self) -> list[Verdict]:
        """One for each rate, by latency: below saturation tokens per second are those that are asked for."""
        return self._verdicts((item.rate, item.contender, 1 / item.latency) for item in self.offered)

    @property
    def table(self) -> dict[int, int] | None:
        """What the contender `table` has: drafted tokens by requests; None where it took no part."""
        return next((each.changes["policy_table"] for each in self.contenders if each.key == TABLE), None)

    def to_dict(self) -> dict[str, Any]:
        """Plain values by name."""
        return {
            "scenario": self.scenario.model_dump(mode="json"),
            "contenders": [contender.key for contender in self.contenders],
            "policy_table": self.table,
            "batches": [asdict(item) for item in self.batches],
            "batch_verdicts": [asdict(item) for item in self.batch_verdicts()],
            "capacity": self.capacity,
            "offered": [asdict(item) for item in self.offered],
            "rate_verdicts": [asdict(item) for item in self.rate_verdicts()],
        }

    def _verdicts(self, found: Iterable[tuple[float, str, float]]) -> list[Verdict]:
        by_place: dict[float, dict[str, float]] = {}
        for at, contender, measure in found:
            by_place.setdefault(at, {})[contender] = measure
        return [self._verdict(at, measures) for at, measures in by_place.items()]

    def _verdict(self, at: float, measures: dict[str, float]) -> Verdict:
        others = {each.key: each.k for each in self.contenders if each.k is not None}
        best = max(others, key=lambda key: measures[key])
        worst = min((key for key, k in others.items() if k), key=lambda key: measures[key])
        return Verdict(
            at=at,
            best=best,
            best_k=others[best],
            worst=worst,
            harm=measures[worst] / measures[ALONE],
            judged=measures[JUDGED] / measures[best],
        )


def run_load(scenario: Scenario, on_progress: Callable[[float], None] = lambda _: None) -> LoadResult:
    """Run every contender on every batch and at every rate; the same scenario always gives the same result.

    Args:
        on_progress: called with the share that is done, by the tokens of the runs.

    Raises:
        SimulationError: a defect of the core, of a policy or of the simulation.
    """
    load, everybody = scenario.load, contenders(scenario)
    has_table = FIXED in load.ways
    batches = sorted(set(load.batches))
    counts = {each: _count(load.requests, each / max(load.loads)) for each in sorted(set(load.loads))}
    done, total = 0, (len(everybody) + has_table) * (sum(batches) + sum(counts.values()))

    def tell(requests: int) -> None:
        nonlocal done
        done += requests
        on_progress(done / total)

    decoded = []
    for batch in batches:
        for contender in everybody:
            decoded.append(run_batch(scenario, contender, batch))
            tell(batch)
    if has_table:
        table = table_contender(scenario, _measured(decoded, everybody))
        everybody.insert(-1, table)
        for batch in batches:
            decoded.append(run_batch(scenario, table, batch))
            tell(batch)
    capacity = _capacity(scenario, everybody[0])
    offered = []
    for share, count in counts.items():
        rate = float(f"{share * capacity:.3g}")
        for contender in everybody:
            offered.append(run_offered(scenario, contender, rate, count))
            tell(count)
    return LoadResult(scenario, tuple(everybody), tuple(decoded), capacity, tuple(offered))


def _measured(batches: Iterable[Batch], everybody: Iterable[Contender]) -> dict[int, dict[int, float]]:
    """Tokens per second of the target alone and of `async` with a fixed k, by requests and k."""
    ks = {each.key: each.k for each in everybody if each.changes["mode"] != "sync"}
    found: dict[int, dict[int, float]] = {}
    for item in batches:
        if (k := ks.get(item.contender)) is not None:
            found.setdefault(item.requests, {})[k] = item.tokens_per_second
    return found


def _capacity(scenario: Scenario, alone: Contender) -> float:
    """Requests per second with as many in flight as there may be."""
    load = scenario.load
    tokens = (-(-load.output_tokens // 2) + load.output_tokens) / 2
    seconds = tokens / run_batch(scenario, alone, load.max_requests).tokens_per_second
    if not load.prefill_elsewhere:
        seconds += scenario.target.prefill_ms / MS_PER_SECOND
    return 1 / seconds


def _count(requests: int, share: float) -> int:
    return min(requests, max(REQUESTS_MIN, round(requests * share)))
