"""Numbers of this process among Ray's own metrics, for clusters that scrape every node's.

Ray allows no colon in a name and puts `ray_` before it: `amusd:passes_total` is `ray_amusd_passes_total`
there.
"""

from collections.abc import Mapping

from ray.util.metrics import Counter, Gauge


class RayMetrics:
    """Repeats gauges and counters; Ray must be running."""

    def __init__(self) -> None:
        self._gauges: dict[str, Gauge] = {}
        self._counters: dict[str, Counter] = {}
        self._told: dict[tuple[str, tuple[str, ...]], float] = {}

    def gauge(self, name: str, description: str, labels: Mapping[str, str], value: float) -> None:
        """What a gauge shows now."""
        if name not in self._gauges:
            self._gauges[name] = Gauge(name.replace(":", "_"), description, tuple(labels))
        self._gauges[name].set(value, dict(labels))

    def counter(self, name: str, description: str, labels: Mapping[str, str], total: float) -> None:
        """What a counter has come to; Ray is told by how much that is more than the last time."""
        if name not in self._counters:
            self._counters[name] = Counter(name.replace(":", "_"), description, tuple(labels))
        place = name, tuple(labels.values())
        if (more := total - self._told.get(place, 0.0)) > 0:
            self._told[place] = total
            self._counters[name].inc(more, dict(labels))
