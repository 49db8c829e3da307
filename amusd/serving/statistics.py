"""What is looked at now and then: overlap, links, windows, costs, and one line about all of it."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from amusd.coordinator.coordinator import Coordinator
from amusd.serving.desk import FrontDesk
from amusd.serving.logs import LOGGER, log
from amusd.tracing import committed_drafts, overlap_ns

if TYPE_CHECKING:
    from amusd.launchers.ray_metrics import RayMetrics


@dataclass(slots=True)
class Statistics:
    """Looks every so many seconds, and is silent while nothing happens.

    Attributes:
        ray: is told all counters and gauges, where Ray runs.
    """

    desk: FrontDesk
    coordinator: Coordinator
    period_seconds: float
    ray: "RayMetrics | None" = None
    _since_ns: int = field(default_factory=time.monotonic_ns)

    async def run(self) -> None:
        """Look until cancelled; a look that fails is no reason to stop serving."""
        while True:
            await asyncio.sleep(self.period_seconds)
            try:
                await self.look()
                if self.ray is not None:
                    self.desk.metrics.repeat(self.ray)
            except Exception:  # noqa: BLE001 - said in the log, and tried again
                LOGGER.exception("statistics failed on a defect")

    async def look(self) -> None:
        """One look at the time since the last one."""
        since_ns, now_ns = self._since_ns, time.monotonic_ns()
        self._since_ns = now_ns
        totals = self.desk.metrics.take_totals()
        await self._look_at_workers()
        if not (totals.prompt_tokens or totals.output_tokens or self.desk.inside):
            self.desk.metrics.on_overlap(0.0, 0.0)
            return
        both, useful = await self._overlap(since_ns, now_ns)
        self.desk.metrics.on_overlap(both, useful)
        seconds = (now_ns - since_ns) / 1e9
        log(
            "statistics",
            prompt_tokens_per_second=totals.prompt_tokens / seconds,
            output_tokens_per_second=totals.output_tokens / seconds,
            running=self.desk.running,
            waiting=self.desk.waiting,
            finished=totals.finished,
            acceptance_rate=totals.accepted / totals.verified if totals.verified else None,
            mean_acceptance_length=totals.committed / totals.passes if totals.passes else None,
            overlap=both,
            useful_overlap=useful,
        )

    async def _look_at_workers(self) -> None:
        trips = {s.name: s.round_trip_seconds for s in self.coordinator.sessions if s.round_trip_seconds}
        states = await self.coordinator.states()
        windows = {
            name: state.counts["nodes"] / state.counts["window"] if state.counts["window"] else 0.0
            for name, state in states.items()
            if "window" in state.counts
        }
        self.desk.metrics.on_links(trips, windows)
        target = states.pop(self.coordinator.target.name, None)
        if target is not None:
            self.desk.metrics.on_passes(target.seconds, target.price or 0.0, target.waits)
        self.desk.metrics.on_steps({name: state.seconds for name, state in states.items()})

    async def _overlap(self, since_ns: int, now_ns: int) -> tuple[float, float]:
        """Shares of the time in which both sides computed, and of that spent on drafts that were used."""
        target, drafters = await self.coordinator.tracks(since_ns)
        passes, window_ns = target.slices("pass"), max(1, now_ns - since_ns)
        both = useful = 0
        for drafter in drafters:
            both = max(both, overlap_ns(passes, drafter.slices("draft"), since_ns, now_ns))
            useful = max(useful, overlap_ns(passes, committed_drafts(drafter), since_ns, now_ns))
        return both / window_ns, useful / window_ns
