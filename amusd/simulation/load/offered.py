"""An open loop: requests arrive by themselves, join between passes, and leave when they are done.

Laws:

- A server that is slow does not slow the arrivals; it decodes at most `max_requests` at a time, the others
  wait in the order of their arrival.
- The same seed gives the same arrivals, lengths and texts to every contender.
"""

import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean, quantiles

from amusd.simulation.arrivals import arrival_times
from amusd.simulation.clock import NS_PER_SECOND, ns_from_ms
from amusd.simulation.load.contenders import Contender
from amusd.simulation.scenario import Scenario
from amusd.simulation.world import World
from amusd.speculation.messages import Commit, RequestId


@dataclass(frozen=True, slots=True)
class Offered:
    """What a contender does with requests at one rate.

    Args:
        rate: that are offered, per second.
        requests: that were.
        seconds: from the first arrival to the end of the last request.
        goodput: tokens per second in that time.
        latency: mean seconds from a request's arrival to its end.
        latency_p99: 99 of 100 are faster.
        first_token: mean seconds from a request's arrival to its first token.
        in_flight: mean number of requests that are decoded or wait.
        verified: drafted tokens of each request in a pass.
    """

    contender: str
    rate: float
    requests: int
    seconds: float
    goodput: float
    latency: float
    latency_p99: float
    first_token: float
    in_flight: float
    verified: float


@dataclass(slots=True)
class _Stay:
    """One request's instants, in nanoseconds."""

    arrival: int
    tokens: int
    first: int | None = None
    end: int | None = None


def run_offered(scenario: Scenario, contender: Contender, rate: float, count: int) -> Offered:
    """Offer so many requests at a rate.

    Raises:
        SimulationError: a defect of the core, of a policy or of the simulation.
    """
    load = scenario.load
    arrivals = arrival_times(load.arrivals, rate, count, float("inf"), scenario.seed)
    lengths = random.Random(scenario.seed)
    stays = {
        RequestId(index): _Stay(
            round(at * NS_PER_SECOND), lengths.randint(-(-load.output_tokens // 2), load.output_tokens)
        )
        for index, at in enumerate(arrivals, 1)
    }
    server = _Server(contender.of(scenario, load.max_requests, load.output_tokens), stays)
    server.run()
    return _measure(contender.key, rate, server)


class _Server:
    """A world with a queue in front of it."""

    def __init__(self, scenario: Scenario, stays: dict[RequestId, _Stay]) -> None:
        self.stays = stays
        self.world = World(scenario, self._read)
        self._scenario = scenario
        self._queue: deque[RequestId] = deque()
        self._live = 0
        self._done = 0
        for request, stay in stays.items():
            self.world.at(stay.arrival, partial(self._arrive, request))

    def run(self) -> None:
        """Until every request has ended."""
        self.world.run(lambda: self._done == len(self.stays))

    def _arrive(self, request: RequestId) -> None:
        self.stays[request].arrival = self.world.clock.now_ns
        self._queue.append(request)
        self._admit()

    def _admit(self) -> None:
        while self._queue and self._live < self._scenario.load.max_requests:
            self._live += 1
            request = self._queue.popleft()
            elsewhere = self._scenario.load.prefill_elsewhere
            delay_ns = ns_from_ms(self._scenario.target.prefill_ms) if elsewhere else 0
            join = partial(self.world.open, request, self.stays[request].tokens, ready=elsewhere)
            self.world.clock.after(delay_ns, join)

    def _read(self, commits: list[Commit]) -> None:
        now = self.world.clock.now_ns
        for commit in commits:
            stay = self.stays[commit.request]
            if stay.first is None and commit.tokens:
                stay.first = now
            if commit.final is not None:
                stay.end = now
                self._live -= 1
                self._done += 1
        self._admit()


def _measure(contender: str, rate: float, server: _Server) -> Offered:
    stays = [*server.stays.values()]
    ends = [stay.end for stay in stays if stay.end is not None]
    firsts = [stay.first for stay in stays if stay.first is not None]
    assert len(ends) == len(firsts) == len(stays), "the run went on until all were done"
    latencies = _since(stays, ends)
    seconds = (max(ends) - stays[0].arrival) / NS_PER_SECOND
    passes = sum(each.passes for each in server.world.stats.values())
    return Offered(
        contender=contender,
        rate=rate,
        requests=len(stays),
        seconds=seconds,
        goodput=sum(stay.tokens for stay in stays) / seconds,
        latency=fmean(latencies),
        latency_p99=quantiles(latencies, n=100, method="inclusive")[-1],
        first_token=fmean(_since(stays, firsts)),
        in_flight=sum(latencies) / seconds,
        verified=sum(each.verified for each in server.world.stats.values()) / passes,
    )


def _since(stays: Sequence[_Stay], instants: Sequence[int]) -> list[float]:
    """Seconds from each arrival on."""
    return [(at - stay.arrival) / NS_PER_SECOND for stay, at in zip(stays, instants, strict=True)]
