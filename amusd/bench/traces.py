"""Reading a Chrome trace of an engine: lanes of slices and marks, and what passes and steps cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Slice:
    """Something that a worker did; a mark when it took no time. Milliseconds from the trace's first event."""

    name: str
    start_ms: float
    end_ms: float
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Lane:
    """One worker, its slices and marks in time order."""

    name: str
    slices: tuple[Slice, ...]

    @property
    def is_target(self) -> bool:
        """Whether the target's worker did this."""
        return self.name.startswith("target")

    def named(self, name: str) -> list[Slice]:
        """The slices or marks of one name."""
        return [item for item in self.slices if item.name == name]


@dataclass(frozen=True, slots=True)
class Proposal:
    """A draft step's token that a pass verified: the starts of both, in milliseconds."""

    step_ms: float
    pass_ms: float


@dataclass(frozen=True, slots=True)
class Trace:
    """What all workers of an engine did."""

    lanes: tuple[Lane, ...]
    proposals: tuple[Proposal, ...]

    @property
    def target(self) -> Lane:
        """The target's lane."""
        return next(lane for lane in self.lanes if lane.is_target)

    @property
    def drafts(self) -> list[Lane]:
        """The drafts' lanes; none in mode `alone`."""
        return [lane for lane in self.lanes if not lane.is_target]


def read_trace(chrome: Mapping[str, Any]) -> Trace:
    """The lanes of Chrome-trace JSON as `amusd.tracing.chrome_trace` makes it."""
    names: dict[int, str] = {}
    slices: dict[int, list[Slice]] = {}
    starts: dict[int, float] = {}
    proposals = []
    for row in chrome["traceEvents"]:
        match row["ph"]:
            case "M":
                names[row["pid"]] = row["args"]["name"]
            case "X" | "i":
                start = row["ts"] / 1e3
                end = start + row.get("dur", 0.0) / 1e3
                slices.setdefault(row["pid"], []).append(Slice(row["name"], start, end, row["args"]))
            case "s":
                starts[row["id"]] = row["ts"] / 1e3
            case "f":
                proposals.append(Proposal(starts[row["id"]], row["ts"] / 1e3))
    lanes = [
        Lane(name, tuple(sorted(slices.get(index, ()), key=lambda item: item.start_ms)))
        for index, name in names.items()
    ]
    return Trace(tuple(lanes), tuple(proposals))


def last_request(chrome: Mapping[str, Any]) -> dict[str, Any]:
    """The rows of a Chrome trace from the target's last prefill on, and both ends of its arrows."""
    rows = chrome["traceEvents"]
    names = {row["pid"]: row["args"]["name"] for row in rows if row["ph"] == "M"}
    prefills = [row for row in rows if row["name"] == "prefill" and names[row["pid"]].startswith("target")]
    start = max((row["ts"] for row in prefills), default=0.0)
    late = [row for row in rows if row["ph"] == "M" or row["ts"] >= start]
    begun = {row["id"] for row in late if row["ph"] == "s"}
    return {**chrome, "traceEvents": [row for row in late if row["ph"] != "f" or row["id"] in begun]}


def pass_milliseconds(trace: Trace) -> dict[int, list[float]]:
    """By rows (the root's and one for each verified token), how long each pass of one request took."""
    return _durations(
        (item.arguments["verified"] + 1, item)
        for item in trace.target.named("pass")
        if item.arguments["requests"] == 1
    )


def draft_milliseconds(trace: Trace) -> dict[int, list[float]]:
    """By rows (expanded nodes), how long each step of the drafts took."""
    return _durations((item.arguments["rows"], item) for lane in trace.drafts for item in lane.named("draft"))


def _durations(items: Any) -> dict[int, list[float]]:
    found: dict[int, list[float]] = {}
    for rows, item in items:
        found.setdefault(rows, []).append(item.end_ms - item.start_ms)
    return found


def merge(all_costs: Sequence[Mapping[int, Sequence[float]]]) -> dict[int, list[float]]:
    """Several records of costs as one, in order of rows."""
    found: dict[int, list[float]] = {}
    for costs in all_costs:
        for rows, values in costs.items():
            found.setdefault(rows, []).extend(values)
    return dict(sorted(found.items()))
