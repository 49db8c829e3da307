"""What each worker did when, on its own monotonic clock; traces of several workers side by side.

Overlap is computed from the same events that the trace shows, so the number in a summary can be
checked by eye in the picture.
"""

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

EVENTS_MAX = 20_000  # some minutes of decoding, at most 25 MB a worker


@dataclass(frozen=True, slots=True)
class Event:
    """A slice of time, or an instant when ``end_ns == start_ns``."""

    name: str
    start_ns: int
    end_ns: int
    arguments: dict[str, Any]

    def shifted(self, offset_ns: int) -> "Event":
        """The same event on a clock that shows ``offset_ns`` less."""
        return Event(self.name, self.start_ns - offset_ns, self.end_ns - offset_ns, self.arguments)


class Recorder:
    """The newest events of one worker; the oldest are forgotten. One writer, any reader."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque(maxlen=EVENTS_MAX)

    @staticmethod
    def now_ns() -> int:
        """The clock of every event of this process."""
        return time.monotonic_ns()

    def record(self, name: str, start_ns: int, **arguments: Any) -> None:
        """A slice from ``start_ns`` until now."""
        self._events.append(Event(name, start_ns, self.now_ns(), arguments))

    def mark(self, name: str, **arguments: Any) -> None:
        """An instant, now."""
        now = self.now_ns()
        self._events.append(Event(name, now, now, arguments))

    def since(self, start_ns: int) -> list[Event]:
        """Events that ended at or after ``start_ns``, oldest first."""
        found = []
        for event in reversed(self._events.copy()):  # a copy: the engine's thread goes on appending
            if event.end_ns < start_ns:
                break
            found.append(event)
        return found[::-1]


@dataclass(frozen=True, slots=True)
class Track:
    """One worker's events on the coordinator's clock.

    ``incarnation`` is what a drafter's node ids are scoped to.
    """

    name: str
    events: tuple[Event, ...] = ()
    incarnation: int = 0

    def slices(self, name: str) -> list[Event]:
        """The slices with this name, in time order."""
        return [event for event in self.events if event.name == name and event.end_ns > event.start_ns]


def overlap_ns(left: Sequence[Event], right: Sequence[Event], start_ns: int, end_ns: int) -> int:
    """Nanoseconds within the window in which both sides have a slice; each side is sorted and disjoint."""
    total, i, j = 0, 0, 0
    while i < len(left) and j < len(right):
        both_from = max(left[i].start_ns, right[j].start_ns, start_ns)
        both_until = min(left[i].end_ns, right[j].end_ns, end_ns)
        total += max(0, both_until - both_from)
        if left[i].end_ns <= right[j].end_ns:
            i += 1
        else:
            j += 1
    return total


def committed_drafts(track: Track) -> list[Event]:
    """The draft slices of a drafter's track of which at least one node was committed in the end."""
    committed = {
        (request, node)
        for event in track.events
        if event.name == "committed"
        for request, node in event.arguments["committed"]
    }
    return [
        event
        for event in track.slices("draft")
        if any((request, node) in committed for request, node in event.arguments["nodes"])
    ]


def chrome_trace(tracks: Sequence[Track]) -> dict[str, Any]:
    """Chrome-trace JSON, as Perfetto opens it: a track per worker, an arrow from each proposal to its pass.

    Source: the Trace Event Format; times are microseconds from the first event.
    """
    origin = min((event.start_ns for track in tracks for event in track.events), default=0)
    rows: list[dict[str, Any]] = []
    made: dict[tuple[int, int, int], tuple[int, int]] = {}  # (incarnation, request, node) -> (track, ns)
    for index, track in enumerate(tracks):
        rows.append({"ph": "M", "name": "process_name", "pid": index, "args": {"name": track.name}})
        for event in track.events:
            row = {"name": event.name, "pid": index, "tid": 0, "ts": (event.start_ns - origin) / 1e3}
            arguments = {
                key: value
                for key, value in event.arguments.items()
                if key not in ("nodes", "aliases", "committed")
            }
            if event.end_ns > event.start_ns:
                rows.append(
                    {**row, "ph": "X", "dur": (event.end_ns - event.start_ns) / 1e3, "args": arguments}
                )
            else:
                rows.append({**row, "ph": "i", "s": "p", "args": arguments})
            for request, node in event.arguments.get("nodes", ()):
                made[(track.incarnation, request, node)] = (index, event.start_ns)
    arrows = 0
    for index, track in enumerate(tracks):
        for event in track.events:
            for incarnation, request, node in event.arguments.get("aliases", ()):
                source = made.get((incarnation, request, node))
                if source is None:
                    continue
                arrows += 1
                common = {"name": "proposal", "cat": "proposal", "id": arrows, "tid": 0}
                rows.append({**common, "ph": "s", "pid": source[0], "ts": (source[1] - origin) / 1e3})
                rows.append(
                    {**common, "ph": "f", "bp": "e", "pid": index, "ts": (event.start_ns - origin) / 1e3}
                )
    return {"traceEvents": rows, "displayTimeUnit": "ms"}
