"""One run: a target, its drafters, the links between them, and a reader who knows the text beforehand."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from amusd.errors import AmusdError
from amusd.simulation.clock import Clock, ns_from_ms
from amusd.simulation.decisions import DraftDecisions, TargetDecisions
from amusd.simulation.draft_worker import DraftWorker
from amusd.simulation.law import AcceptanceLaw
from amusd.simulation.link import NetworkLink
from amusd.simulation.result import Result, measure
from amusd.simulation.scenario import Curve, Drafters, Scenario, Target
from amusd.simulation.target_worker import DrafterSaid, LinkReady, Opened, TargetWorker
from amusd.simulation.text import TrueText
from amusd.simulation.worker import Costs
from amusd.speculation.messages import (
    Attached,
    Close,
    Commit,
    DrafterId,
    Have,
    Hello,
    Price,
    Propose,
    RequestId,
)
from amusd.speculation.stats import RequestStats
from amusd.tracing import Track

_BYTES_PER_MBIT = 1e6 / 8


class SimulationError(AmusdError):
    """A run went wrong: it committed another text than the target's, or it hangs. Either is a defect."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run that is over.

    Attributes:
        tracks: what each worker did when, the drafters first.
        texts: the output of each request.
    """

    result: Result
    tracks: tuple[Track, ...]
    texts: dict[RequestId, tuple[int, ...]]


def simulate(scenario: Scenario, on_progress: Callable[[float], None] | None = None) -> Run:
    """Run a scenario to its end; the same scenario always gives the same run.

    Args:
        on_progress: called with the share of tokens that are committed, after every pass.

    Raises:
        SimulationError: a defect of the core, of a policy or of the simulation.
    """
    wanted = scenario.output_tokens * scenario.requests

    def read(_: list[Commit]) -> None:
        if on_progress is not None:
            on_progress(sum(map(len, world.texts.values())) / wanted)

    world = World(scenario, read)
    requests = [RequestId(index) for index in range(1, scenario.requests + 1)]

    def open_all() -> None:
        for request in requests:
            world.open(request, scenario.output_tokens)

    world.at(0, open_all)
    world.run(lambda: len(world.stats) == scenario.requests)
    return world.over()


class World:
    """One target with its drafters and links, and a reader.

    Args:
        on_commits: called after every pass that committed something, with what it committed.

    Attributes:
        texts: the output of each request so far.
        stats: of each request that is over.
    """

    def __init__(self, scenario: Scenario, on_commits: Callable[[list[Commit]], None]) -> None:
        self.clock = Clock()
        self.texts: dict[RequestId, list[int]] = {}
        self.stats: dict[RequestId, RequestStats] = {}
        self._scenario = scenario
        self._on_commits = on_commits
        self._text = TrueText(scenario.seed)
        self._latency_ns = ns_from_ms(scenario.network.latency_ms)
        bandwidth = scenario.network.bandwidth_mbit
        self._bytes_per_second = None if bandwidth is None else bandwidth * _BYTES_PER_MBIT
        self._links: dict[DrafterId, NetworkLink[Attached | Commit | Close | Price]] = {}
        self.target = TargetWorker(
            self.clock,
            self._costs(scenario.target, scenario.target.curve, 0),
            self._text,
            TargetDecisions(scenario),
            scenario.verify == "rows",
            self._links,
            self._read,
        )
        count = 0 if scenario.mode == "alone" else scenario.drafters.count
        self._drafters = [self._attach_drafter(index) for index in range(count)]
        # Both sides have said hello by then, as they have before a coordinator takes its first request.
        self._start_ns = 2 * self._latency_ns + 1

    def at(self, delay_ns: int, action: Callable[[], None]) -> None:
        """Let something happen so long after the workers are ready; before time starts."""
        self.clock.after(self._start_ns + delay_ns, action)

    def run(self, is_over: Callable[[], bool]) -> None:
        """Let time pass until something is so.

        Raises:
            SimulationError: it never will be, or a wrong token was committed.
        """
        while not is_over():
            if not self.clock.step():
                unfinished = len(self.texts) - len(self.stats)
                raise SimulationError(
                    f"{self._who}: nothing is left to happen at {self.clock.now_seconds:.6f} s with "
                    f"{unfinished} requests unfinished"
                )

    def open(self, request: RequestId, output_tokens: int, *, ready: bool = False) -> None:
        """Open a request; the coordinator sits beside the target, and reaches the drafters after the latency.

        Args:
            ready: its prompt is in everybody's cells already.
        """
        length = self._scenario.prompt_tokens
        opened = Opened(request, self._text.prompt(request, length), length + output_tokens, ready)
        self.texts[request] = []
        self.target.post(opened)
        for drafter in self._drafters:
            self.clock.after(self._latency_ns, partial(drafter.post, opened))

    def over(self) -> Run:
        """Count, once every request has ended."""
        tracks = tuple(
            Track(f"draft {index}", tuple(drafter.events), drafter.endpoint.incarnation)
            for index, drafter in enumerate(self._drafters)
        )
        bytes_sent = sum(link.bytes_sent for link in self._links.values())
        bytes_sent += sum(drafter.link.bytes_sent for drafter in self._drafters)
        result = measure(self.target, tracks, list(self.stats.values()), self.clock.now_ns, bytes_sent)
        texts = {request: tuple(tokens) for request, tokens in self.texts.items()}
        return Run(result, (*tracks, Track("target", tuple(self.target.events))), texts)

    @property
    def _who(self) -> str:
        return f"scenario {self._scenario.name}, seed {self._scenario.seed}"

    def _costs(self, side: Target | Drafters, curve: Curve, worker: int) -> Costs:
        return Costs(curve, side.prefill_ms, side.overhead_ms, self._scenario.seed, worker)

    def _attach_drafter(self, index: int) -> DraftWorker:
        scenario, drafter_id = self._scenario, DrafterId(index + 1)
        worker = DraftWorker(
            self.clock,
            self._costs(scenario.drafters, scenario.draft_curve, index + 1),
            index + 1,
            AcceptanceLaw(scenario.drafters.acceptance, self._text, index, scenario.drafters.agreement),
            DraftDecisions(scenario),
        )

        def to_target(message: Hello | Propose | Have) -> None:
            self.target.post(DrafterSaid(drafter_id, message, self.clock.now_seconds))

        worker.link = NetworkLink(
            self.clock, self._latency_ns, self._bytes_per_second, to_target, partial(worker.post, LinkReady())
        )
        self._links[drafter_id] = NetworkLink(
            self.clock,
            self._latency_ns,
            self._bytes_per_second,
            worker.post,
            partial(self.target.post, LinkReady()),
        )
        self.clock.after(0, worker.attach)
        return worker

    def _read(self, commits: list[Commit]) -> None:
        for commit in commits:
            wrong = self._text.first_error(commit)
            if wrong is not None:
                raise SimulationError(
                    f"{self._who}: request {commit.request} committed another token than the target's at "
                    f"position {wrong}"
                )
            self.texts[commit.request].extend(commit.tokens)
            if commit.final is not None:
                self.stats[commit.request] = self.target.endpoint.stats(commit.request)
        self._on_commits(commits)
