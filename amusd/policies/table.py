"""`table`: a number of drafted tokens for each number of live requests, measured beforehand.

The longer the chain, the more tokens a pass commits and the more rows it has; what pays depends on how many
requests share the pass. So the number is looked up by that: it was measured offline, for this pair of models
on these devices (`amusd bench --load --profile`).
Source: Su, Giannoula and Pekhimenko 2023 (arXiv 2310.18813).

The file is JSON: `{"about": {...}, "k_by_requests": {"1": 7, "2": 5}, "tokens_per_second": {"1": {"0": 60.2,
"7": 110.5}}}`; only the second part decides.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from amusd.config import SPECULATIVE_TOKENS_MAX
from amusd.errors import InputError
from amusd.policies.adaptive import AdaptiveVerify
from amusd.policies.costs import CostCurve
from amusd.policies.leading import NOTHING
from amusd.speculation.messages import RequestId

_REMEDY: Final = "give a file that amusd bench --load --profile wrote"


@dataclass(frozen=True, slots=True)
class SpeculationTable:
    """How many drafted tokens of each request a pass takes, by the number of live requests.

    Between two numbers of requests that were measured the smaller one's holds, below the smallest its own.

    Args:
        k_by_requests: at least one; requests from 1, tokens from 0 to 64.
        tokens_per_second: what was measured, by requests and by k.
        about: what it was measured on, for people.
    """

    k_by_requests: Mapping[int, int]
    tokens_per_second: Mapping[int, Mapping[int, float]] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)

    def k(self, requests: int) -> int:
        """Drafted tokens of each of so many live requests."""
        measured = [count for count in self.k_by_requests if count <= requests]
        return self.k_by_requests[max(measured) if measured else min(self.k_by_requests)]

    def __call__(
        self,
        reaches: Mapping[RequestId, Sequence[float]],
        costs: CostCurve,
        weights: Mapping[RequestId, float] | None = None,
    ) -> dict[RequestId, int]:
        """How many nodes of each request's choice go into a pass of these requests."""
        k = self.k(len(reaches))
        return {request: min(len(chain), k) for request, chain in reaches.items()}

    @classmethod
    def from_dict(cls, values: Any) -> Self:
        """Read what `asdict` made of one, by way of JSON.

        Raises:
            ValueError: it is none; says what is wrong.
        """
        known = set(cls.__slots__)
        if not isinstance(values, dict) or not values.keys() <= known or "k_by_requests" not in values:
            raise ValueError(
                f"is not an object with k_by_requests, and nothing but {', '.join(sorted(known))}"
            )
        ks = read_ks(values["k_by_requests"])
        try:
            rates = {
                int(requests): {int(k): float(rate) for k, rate in row.items()}
                for requests, row in values.get("tokens_per_second", {}).items()
            }
        except (AttributeError, TypeError, ValueError):
            problem = "tokens_per_second is not a number for each k, for each number of requests"
            raise ValueError(problem) from None
        return cls(ks, rates, values.get("about", {}))

    def write(self, path: Path) -> None:
        """Write the JSON file."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")


class TableVerify(AdaptiveVerify):
    """Drafts and waits as `async` does, but takes as many nodes as a table says, and waits for no more.

    Args:
        nodes_max: most nodes of a request in one pass, whatever the table says.
    """

    def __init__(self, nodes_max: int, table: SpeculationTable) -> None:
        super().__init__(nodes_max, table)
        self._table = table
        self._requests = 0  # of the last pass

    @property
    def price(self) -> float:
        """No node is too unlikely, or none is worth anything where the table has 0."""
        return 0.0 if self._table.k(self._requests) else NOTHING

    def deadline(
        self,
        reaches: Mapping[RequestId, Sequence[float]],
        rooms: Mapping[RequestId, int],
        *,
        prospect: float,
        now: float,
        drafted: Mapping[RequestId, int] | None = None,
    ) -> float:
        """When waiting stops to pay (see `VerifyPolicy`)."""
        k = self._table.k(len(reaches))
        used = {request: min(room, k) for request, room in rooms.items()}
        return super().deadline(reaches, used, prospect=prospect, now=now, drafted=drafted)

    def on_pass(
        self, verified: Mapping[RequestId, int], accepted: Mapping[RequestId, int], end: float
    ) -> None:
        """From now on nodes are waited for again."""
        self._requests = len(verified)
        super().on_pass(verified, accepted, end)


def best_table(
    tokens_per_second: Mapping[int, Mapping[int, float]], about: Mapping[str, Any]
) -> SpeculationTable:
    """The table with the fastest number of drafted tokens for each number of requests; least of equals."""
    best = {
        requests: max(sorted(rates), key=lambda k: rates[k]) for requests, rates in tokens_per_second.items()
    }
    return SpeculationTable(best, tokens_per_second, about)


def read_table(path: Path) -> SpeculationTable:
    """Read a table's file.

    Raises:
        InputError: it cannot be read, or is no table; names what is wrong.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError("policy_table", str(path), f"cannot be read ({error}); {_REMEDY}") from None
    try:
        return SpeculationTable.from_dict(values)
    except ValueError as error:
        raise InputError("policy_table", str(path), f"{error}; {_REMEDY}") from None


def read_ks(values: Any) -> dict[int, int]:
    """The numbers of drafted tokens by the numbers of requests, as JSON has them.

    Raises:
        ValueError: they are none; says what is wrong.
    """
    if not isinstance(values, dict) or not values:
        raise ValueError("k_by_requests holds no numbers")
    for requests, k in values.items():
        if not (requests.isdecimal() and int(requests) >= 1):
            raise ValueError(f"k_by_requests has {requests!r} for a number of requests, not 1 or more")
        if not (isinstance(k, int) and not isinstance(k, bool) and 0 <= k <= SPECULATIVE_TOKENS_MAX):
            allowed = f"not a whole number from 0 to {SPECULATIVE_TOKENS_MAX}"
            raise ValueError(f"k_by_requests has {k!r} at {requests} requests, {allowed}")
    return {int(requests): k for requests, k in values.items()}
