"""What limits a pair of models: its drafts' acceptance, its costs, and the rates that they allow."""

from dataclasses import dataclass
from statistics import median
from typing import Final

from amusd.bench import bounds
from amusd.bench.bounds import Bound, CostCurve
from amusd.bench.results import Results

CANDIDATES_SHOWN: Final = (2, 4)
DEPTHS_SHOWN: Final = 8
RANKS_SHOWN: Final = 8
REACHED_MIN: Final = 20
"""Tokens at a depth, below which a share of them says nothing."""
PASSES_MIN: Final = 8
"""Fewer passes of some number of rows (where an output ends) say little about what they cost."""

ALONE: Final = "target alone"
SYNCHRONOUS: Final = "synchronous optimum"
AMUSD: Final = "AMUSD's expectation"
FORESEEN: Final = "hidden, 4 candidates"
HIDDEN: Final = "hidden rollback"


@dataclass(frozen=True, slots=True)
class DraftRow:
    """A draft on the reference's text at one temperature."""

    temperature: float
    draft: str
    step_ms: float | None
    alpha: float
    hit_rates: dict[int, float]  # by candidates
    by_depth: list[float | None]  # of depth 1, 2, ...
    by_rank: list[float]  # share of rank 1, 2, ...


@dataclass(frozen=True, slots=True)
class BoundRow:
    """What is possible at one temperature, with the draft that gets there."""

    temperature: float
    name: str
    draft: str | None
    bound: Bound


def draft_step_ms(results: Results, draft: str) -> float | None:
    """t_d: the median of the draft's narrowest steps; None where `sync` did not run."""
    costs = results.draft_costs.get(draft)
    return median(costs[min(costs)]) if costs else None


def cost_curve(results: Results) -> CostCurve | None:
    """T(rows) in seconds from the medians; None where too few passes were traced."""
    points = {
        rows: median(values) / 1e3 for rows, values in results.pass_costs.items() if len(values) >= PASSES_MIN
    }
    return CostCurve(points) if points else None


def draft_row(results: Results, draft: str, temperature: float) -> DraftRow:
    """Acceptance of a draft on the reference outputs of one temperature."""
    ranks = results.ranks[draft][temperature]
    return DraftRow(
        temperature=temperature,
        draft=draft,
        step_ms=draft_step_ms(results, draft),
        alpha=bounds.hit_rate(ranks, 1),
        hit_rates={count: bounds.hit_rate(ranks, count) for count in CANDIDATES_SHOWN},
        by_depth=bounds.acceptance_by_depth(ranks, DEPTHS_SHOWN, REACHED_MIN),
        by_rank=[
            bounds.hit_rate(ranks, rank) - (bounds.hit_rate(ranks, rank - 1) if rank > 1 else 0.0)
            for rank in range(1, RANKS_SHOWN + 1)
        ],
    )


def bound_rows(results: Results, temperature: float) -> list[BoundRow]:
    """Each bound with the draft that reaches the most; none without measured costs and ranks."""
    curve = cost_curve(results)
    if curve is None:
        return []
    rows = [BoundRow(temperature, ALONE, None, Bound(1 / curve(1), 0))]
    ks = range(curve.rows_max)  # 0 is a plain pass
    by_name: dict[str, list[tuple[Bound, str]]] = {}
    for draft, by_temperature in results.ranks.items():
        step_ms = draft_step_ms(results, draft)
        if step_ms is None or temperature not in by_temperature or not ks:
            continue
        for name, bound in _bounds_of(by_temperature[temperature], curve, step_ms / 1e3, ks).items():
            by_name.setdefault(name, []).append((bound, draft))
    for name, options in by_name.items():
        bound, draft = max(options, key=lambda option: option[0].tokens_per_second)
        rows.append(BoundRow(temperature, name, draft, bound))
    return rows


def _bounds_of(ranks: bounds.Ranks, curve: CostCurve, step: float, ks: range) -> dict[str, Bound]:
    return {
        SYNCHRONOUS: bounds.best(lambda k: bounds.synchronous_rate(ranks, curve, step, k), ks),
        AMUSD: bounds.best(lambda k: bounds.amusd_rate(ranks, curve, step, k), ks),
        FORESEEN: bounds.best(lambda k: bounds.hidden_rate(ranks, curve, step, k, 4), ks),
        HIDDEN: bounds.best(lambda k: bounds.hidden_rate(ranks, curve, step, k, None), ks),
    }
