"""Who takes part: ways to serve the same target, each as changes of the scenario."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from amusd.policies.table import best_table
from amusd.simulation.scenario import Scenario

ALONE: Final = "alone"
FIXED: Final = "fixed"
TABLE: Final = "table"
JUDGED: Final = "goodput"
_WAYS: Final[Mapping[str, Mapping[str, Any]]] = {
    "sync": {"mode": "sync"},
    FIXED: {"mode": "async", "policy": "fixed"},
}


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to serve.

    Args:
        key: unique, and what tables and charts call it: `sync k=3`.
        k: drafted tokens of a request per pass where it is fixed, 0 alone; None where the policy chooses.
        changes: values of the scenario.
    """

    key: str
    k: int | None
    changes: Mapping[str, Any]

    def of(self, scenario: Scenario, requests: int, output_tokens: int) -> Scenario:
        """The scenario with this contender and this many requests."""
        sizes = {"requests": requests, "output_tokens": output_tokens}
        return scenario.with_values({**self.changes, **sizes})


def contenders(scenario: Scenario) -> list[Contender]:
    """The target alone, each fixed number of tokens in each way, and the policy that chooses."""
    load = scenario.load
    fixed = [
        Contender(f"{way} k={k}", k, {**_WAYS[way], "num_speculative_tokens": k})
        for way in dict.fromkeys(load.ways)
        for k in sorted(set(load.ks))
    ]
    chooses = {"mode": "async", "policy": "goodput", "num_speculative_tokens": max(load.ks)}
    return [Contender(ALONE, 0, {"mode": "alone"}), *fixed, Contender(JUDGED, None, chooses)]


def table_contender(scenario: Scenario, tokens_per_second: Mapping[int, Mapping[int, float]]) -> Contender:
    """The policy `table`, by what was measured.

    Args:
        tokens_per_second: by the number of requests, and by that of drafted tokens in `async`; 0: alone.
    """
    ks = best_table(tokens_per_second, {}).k_by_requests
    longest = max(scenario.load.ks)
    changes = {"mode": "async", "policy": TABLE, "policy_table": ks, "num_speculative_tokens": longest}
    return Contender(TABLE, None, changes)
