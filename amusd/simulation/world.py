"""One run: a target, its drafters, the links between them, and a reader who knows the text beforehand."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from amusd.errors import AmusdError
from amusd.simulation.clock import Clock, ns_from_ms
from amusd.simulation.curves import CostCurve
from amusd.simulation.decisions import DraftDecisions, TargetDecisions
from amusd.simulation.draft_worker import DraftWorker
from amusd.simulation.law import AcceptanceLaw
from amusd.simulation.link import NetworkLink
from amusd.simulation.result import Result, measure
from amusd.simulation.scenario import Drafters, Scenario, Target
from amusd.simulation.target_worker import DrafterSaid, LinkReady, Opened, TargetWorker
from amusd.simulation.text import TrueText
from amusd.simulation.worker import Costs
from amusd.speculation.messages import Attached, Close, Commit, DrafterId, Have, Hello, Propose, RequestId
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
    world = _World(scenario, on_progress or (lambda _: None))
    while world.open_requests:
        if not world.clock.step():
            raise SimulationError(
                f"scenario {scenario.name}, seed {scenario.seed}: nothing is left to happen at "
                f"{world.clock.now_seconds:.6f} s with {len(world.open_requests)} requests unfinished"
            )
    return world.over()


class _World:
    def __init__(self, scenario: Scenario, on_progress: Callable[[float], None]) -> None:
        self.clock = Clock()
        self.open_requests = {RequestId(index) for index in range(1, scenario.requests + 1)}
        self._scenario = scenario
        self._on_progress = on_progress
        self._text = TrueText(scenario.seed)
        self._texts: dict[RequestId, list[int]] = {request: [] for request in self.open_requests}
        self._stats: dict[RequestId, RequestStats] = {}
        self._latency_ns = ns_from_ms(scenario.network.latency_ms)
        bandwidth = scenario.network.bandwidth_mbit
        self._bytes_per_second = None if bandwidth is None else bandwidth * _BYTES_PER_MBIT
        self._links: dict[DrafterId, NetworkLink[Attached | Commit | Close]] = {}
        self._target = TargetWorker(
            self.clock,
            self._costs(scenario.target, scenario.target.curve, 0),
            self._text,
            TargetDecisions(
                scenario.mode, scenario.verify, scenario.num_speculative_tokens, scenario.target.curve
            ),
            scenario.verify == "rows",
            self._links,
            self._read,
        )
        count = 0 if scenario.mode == "alone" else scenario.drafters.count
        self._drafters = [self._attach_drafter(index) for index in range(count)]
        # Both sides have said hello by then, as they have before a coordinator takes its first request.
        self.clock.after(2 * self._latency_ns + 1, self._open_all)

    def over(self) -> Run:
        """Count, once every request has ended."""
        tracks = tuple(
            Track(f"draft {index}", tuple(drafter.events), drafter.endpoint.incarnation)
            for index, drafter in enumerate(self._drafters)
        )
        bytes_sent = sum(link.bytes_sent for link in self._links.values())
        bytes_sent += sum(drafter.link.bytes_sent for drafter in self._drafters)
        result = measure(self._target, tracks, list(self._stats.values()), self.clock.now_ns, bytes_sent)
        texts = {request: tuple(tokens) for request, tokens in self._texts.items()}
        return Run(result, (*tracks, Track("target", tuple(self._target.events))), texts)

    def _costs(self, side: Target | Drafters, curve: CostCurve, worker: int) -> Costs:
        return Costs(curve, side.prefill_ms, side.overhead_ms, self._scenario.seed, worker)

    def _attach_drafter(self, index: int) -> DraftWorker:
        scenario, drafter_id = self._scenario, DrafterId(index + 1)
        worker = DraftWorker(
            self.clock,
            self._costs(scenario.drafters, scenario.draft_curve, index + 1),
            index + 1,
            AcceptanceLaw(scenario.drafters.acceptance, self._text, index, scenario.drafters.agreement),
            DraftDecisions(scenario.mode, scenario.num_speculative_tokens),
        )

        def to_target(message: Hello | Propose | Have) -> None:
            self._target.post(DrafterSaid(drafter_id, message, self.clock.now_seconds))

        worker.link = NetworkLink(
            self.clock, self._latency_ns, self._bytes_per_second, to_target, partial(worker.post, LinkReady())
        )
        self._links[drafter_id] = NetworkLink(
            self.clock,
            self._latency_ns,
            self._bytes_per_second,
            worker.post,
            partial(self._target.post, LinkReady()),
        )
        self.clock.after(0, worker.attach)
        return worker

    def _open_all(self) -> None:
        """The coordinator sits beside the target: its word reaches the drafters after the latency."""
        length = self._scenario.prompt_tokens
        for request in sorted(self.open_requests):
            opened = Opened(
                request, self._text.prompt(request, length), length + self._scenario.output_tokens
            )
            self._target.post(opened)
            for drafter in self._drafters:
                self.clock.after(self._latency_ns, partial(drafter.post, opened))

    def _read(self, commits: list[Commit]) -> None:
        for commit in commits:
            wrong = self._text.first_error(commit)
            if wrong is not None:
                raise SimulationError(
                    f"scenario {self._scenario.name}, seed {self._scenario.seed}: request {commit.request} "
                    f"committed another token than the target's at position {wrong}"
                )
            self._texts[commit.request].extend(commit.tokens)
            if commit.final is not None:
                self._stats[commit.request] = self._target.endpoint.stats(commit.request)
                self.open_requests.discard(commit.request)
        written = sum(map(len, self._texts.values()))
        self._on_progress(written / (self._scenario.output_tokens * len(self._texts)))
