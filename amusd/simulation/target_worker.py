"""The target of a simulation: the real endpoint and policy, a pass that only takes time.

It does what `amusd.workers.target_engine` does, in the same order.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import assert_never

from amusd.simulation.clock import NS_PER_SECOND, Clock
from amusd.simulation.curves import CostCurve
from amusd.simulation.decisions import Chains, TargetDecisions
from amusd.simulation.link import NetworkLink
from amusd.simulation.text import VOCABULARY_SIZE, TrueText
from amusd.simulation.worker import Worker
from amusd.speculation.messages import Attached, Close, Commit, DrafterId, Have, Hello, Propose, RequestId
from amusd.speculation.target import TargetEndpoint

INCARNATION = 1


@dataclass(frozen=True, slots=True)
class Opened:
    """A request starts.

    Attributes:
        length_max: prompt and output together, at which it ends.
    """

    request: RequestId
    tokens: tuple[int, ...]
    length_max: int


@dataclass(frozen=True, slots=True)
class DrafterSaid:
    """A drafter's message arrived."""

    drafter: DrafterId
    message: Hello | Propose | Have


@dataclass(frozen=True, slots=True)
class LinkReady:
    """A link can take the next send."""


class TargetWorker(Worker[Opened | DrafterSaid | LinkReady]):
    """Owns the target's endpoint.

    Args:
        curve: of a pass.
        prefill_ms: of one prompt.
        links: to each drafter, by its id; filled by the caller before time starts.
        on_commits: called with what is newest, after every pass.

    Attributes:
        corrections: passes, per request, whose own token was none of the verified ones that it followed.
        foreseen: those of them that a branch held.
    """

    def __init__(
        self,
        clock: Clock,
        overhead_ms: float,
        text: TrueText,
        curve: CostCurve,
        prefill_ms: float,
        decisions: TargetDecisions,
        links: dict[DrafterId, NetworkLink[Attached | Commit | Close]],
        on_commits: Callable[[list[Commit]], None],
    ) -> None:
        super().__init__(clock, overhead_ms)
        self.endpoint = TargetEndpoint(INCARNATION, VOCABULARY_SIZE, decisions.limits)
        self.corrections = self.foreseen = 0
        self._text = text
        self._curve = curve
        self._prefill_ms = prefill_ms
        self._decisions = decisions
        self._links = links
        self._on_commits = on_commits
        self._attached: dict[DrafterId, int] = {}  # incarnations
        self._prefilling: list[RequestId] = []
        self._decoding: list[RequestId] = []
        self._turn_is_prefill = True  # with prompts waiting, prefills and passes take turns

    def on_event(self, event: Opened | DrafterSaid | LinkReady) -> None:
        """Take one event."""
        match event:
            case Opened(request, tokens, length_max):
                if self.endpoint.on_open(request, tokens, len(tokens), length_max, frozenset()):
                    self._prefilling.append(request)
            case DrafterSaid(drafter, message):
                self._hear(drafter, message)
            case LinkReady():
                pass
            case _:
                assert_never(event)

    def _hear(self, drafter: DrafterId, message: Hello | Propose | Have) -> None:
        match message:
            case Hello():
                self.endpoint.on_attach(drafter, message)
                self._attached[drafter] = message.incarnation
            case Have():
                self.endpoint.on_have(drafter, message)
            case Propose():
                if self.endpoint.on_propose(drafter, message).live:
                    self._decisions.on_proposal(message.request)
            case _:
                assert_never(message)

    def wait_ns(self) -> int | None:
        """Not at all with a prompt to prefill; otherwise until the drafts' patience runs out."""
        if self._prefilling:
            return 0
        if not self._decoding:
            return None
        wait_seconds = self._deadline() - self.clock.now_seconds
        return max(1, round(wait_seconds * NS_PER_SECOND)) if wait_seconds > 0 else 0

    def work(self) -> None:
        """Prefill a prompt, or run a pass when it is time; then hand out what is newest."""
        if self._prefilling and self._turn_is_prefill:
            self._turn_is_prefill = False
            self.occupy("prefill", self._prefill_ms, self._prefilled, request=self._prefilling[0])
        else:
            self._turn_is_prefill = True
            self._decode()

    def _prefilled(self) -> None:
        self._decoding.append(self._prefilling.pop(0))

    def _decode(self) -> None:
        if self._decoding and self._deadline() <= self.clock.now_seconds:
            self._start_pass()
        else:
            self._publish()

    def _deadline(self) -> float:
        return self._decisions.deadline(
            self.endpoint, self._decoding, drafters=len(self._attached), now=self.clock.now_seconds
        )

    def _start_pass(self) -> None:
        chains = self._decisions.choose(self.endpoint, self._decoding)
        width = 1 + max(map(len, chains.values()))
        length = max(self.endpoint.log(request).length for request in chains)
        aliases = [
            (self._attached[drafter], request, node)
            for request, chain in chains.items()
            for member in chain
            for drafter, node in member.aliases
        ]
        self.occupy(
            "pass",
            self._curve.ms(width, len(chains), length),
            lambda: self._end_pass(chains),
            requests=len(chains),
            verified=sum(map(len, chains.values())),
            aliases=aliases,
        )

    def _end_pass(self, chains: Chains) -> None:
        for request, chain in chains.items():
            first = self.endpoint.log(request).length
            winners = [self._text.token(request, first + row) for row in range(len(chain) + 1)]
            foreseen_before = self.endpoint.stats(request).foreseen_corrections
            result = self.endpoint.on_verified(request, chain, range(len(chain)), winners)
            assert result is not None, "nothing ends a request while its pass runs"
            self.corrections += len(result.accepted_rows) < len(chain)
            self.foreseen += self.endpoint.stats(request).foreseen_corrections - foreseen_before
            if result.rolled_back:
                self.mark("rollback", request=request, length=self.endpoint.log(request).length)
            if result.final is not None:
                self._decoding.remove(request)
                self._decisions.forget(request)
        self._decisions.on_pass(self.clock.now_seconds)
        self._publish()

    def _publish(self) -> None:
        """Every ready link gets what is newest, and so does the reader of the text."""
        for drafter in self._attached:
            link = self._links[drafter]
            if link.ready and (messages := self.endpoint.messages_for(drafter)):
                link.send(messages)
        if commits := self.endpoint.feed():
            self._on_commits(commits)
