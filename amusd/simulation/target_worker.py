"""The target of a simulation: the real endpoint and policy, a pass that only takes time.

It does what `amusd.workers.target_engine` does, in the same order, but for what it has not: prompts in parts,
cells that run out, deadlines and lookups.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import assert_never

from amusd.policies.choices import Choice
from amusd.simulation.clock import NS_PER_SECOND, Clock
from amusd.simulation.decisions import Choices, TargetDecisions
from amusd.simulation.link import NetworkLink
from amusd.simulation.text import VOCABULARY_SIZE, TrueText
from amusd.simulation.worker import Costs, Worker
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
from amusd.speculation.target import TargetEndpoint

INCARNATION = 1


@dataclass(frozen=True, slots=True)
class Opened:
    """A request starts.

    Attributes:
        length_max: prompt and output together, at which it ends.
        ready: its prompt is in the cells already.
    """

    request: RequestId
    tokens: tuple[int, ...]
    length_max: int
    ready: bool = False


@dataclass(frozen=True, slots=True)
class DrafterSaid:
    """A drafter's message arrived."""

    drafter: DrafterId
    message: Hello | Propose | Have
    at: float  # seconds


@dataclass(frozen=True, slots=True)
class LinkReady:
    """A link can take the next send."""


class TargetWorker(Worker[Opened | DrafterSaid | LinkReady]):
    """Owns the target's endpoint.

    Args:
        apart: each path of a choice is a batch row of its own (`verify: rows`).
        links: to each drafter, by its id; filled by the caller before time starts.
        on_commits: called with what is newest, after every pass.
    """

    def __init__(
        self,
        clock: Clock,
        costs: Costs,
        text: TrueText,
        decisions: TargetDecisions,
        apart: bool,
        links: dict[DrafterId, NetworkLink[Attached | Commit | Close | Price]],
        on_commits: Callable[[list[Commit]], None],
    ) -> None:
        super().__init__(clock, costs)
        self.endpoint = TargetEndpoint(INCARNATION, VOCABULARY_SIZE, decisions.limits)
        self._text = text
        self._decisions = decisions
        self._apart = apart
        self._links = links
        self._on_commits = on_commits
        self._attached: dict[DrafterId, int] = {}  # incarnations
        self._prefilling: list[RequestId] = []
        self._decoding: list[RequestId] = []
        self._turn_is_prefill = True  # with prompts waiting, prefills and passes take turns
        self._until = 0.0  # when a pass that was worth delaying starts at the latest

    def on_event(self, event: Opened | DrafterSaid | LinkReady) -> None:
        """Take one event."""
        self._decisions.changed()
        match event:
            case Opened(request, tokens, length_max, ready):
                if self.endpoint.on_open(request, tokens, len(tokens), length_max, frozenset()):
                    self._decisions.open(request)
                    (self._decoding if ready else self._prefilling).append(request)
            case DrafterSaid(drafter, message, at):
                self._hear(drafter, message, at)
            case LinkReady():
                pass
            case _:
                assert_never(event)

    def _hear(self, drafter: DrafterId, message: Hello | Propose | Have, at: float) -> None:
        match message:
            case Hello():
                self.endpoint.on_attach(drafter, message)
                self._attached[drafter] = message.incarnation
                self._decisions.attach(drafter)
            case Have():
                self.endpoint.on_have(drafter, message)
            case Propose():
                if self.endpoint.on_propose(drafter, message).live:
                    self._decisions.on_proposal(message.request, drafter, at)
            case _:
                assert_never(message)

    def wait_ns(self) -> int | None:
        """Not at all with a prompt to prefill; where the last turn found drafts worth a wait, until then."""
        if self._prefilling:
            return 0
        if not self._decoding:
            return None
        wait_seconds = self._until - self.clock.now_seconds
        return max(1, round(wait_seconds * NS_PER_SECOND)) if wait_seconds > 0 else 0

    def work(self) -> None:
        """Prefill a prompt, or run a pass when it is time; then hand out what is newest."""
        if self._prefilling and self._turn_is_prefill:
            self._turn_is_prefill = False
            self.occupy("prefill", self.costs.prefill_ms, self._prefilled, request=self._prefilling[0])
        else:
            self._turn_is_prefill = True
            self._decode()

    def _prefilled(self, _start: float) -> None:
        self._decoding.append(self._prefilling.pop(0))
        self._decisions.changed()

    def _decode(self) -> None:
        now = self.clock.now_seconds
        self._until = self._decisions.deadline(self.endpoint, self._decoding, now) if self._decoding else now
        if self._decoding and self._until <= now:
            self._start_pass()
        else:
            self._publish()

    def _start_pass(self) -> None:
        chosen = self._decisions.choose(self.endpoint, self._decoding)
        aliases = [
            (self._attached[drafter], request, node)
            for request, choice in chosen.items()
            for member in choice.nodes
            for drafter, node in member.aliases
        ]
        self.occupy(
            "pass",
            self._pass_ms(chosen),
            partial(self._end_pass, chosen),
            requests=len(chosen),
            verified=sum(len(choice.nodes) for choice in chosen.values()),
            aliases=aliases,
        )

    def _pass_ms(self, chosen: Choices) -> float:
        """What the pass takes: a batch row per request, or per path of its choice."""
        widths, lengths = [], []
        for request, choice in chosen.items():
            rows = [len(path) for path in choice.chains() or [[]]] if self._apart else [len(choice.nodes)]
            widths += [1 + count for count in rows]
            lengths += [self.endpoint.log(request).length] * len(rows)
        return self.forward_ms(widths, lengths)

    def _end_pass(self, chosen: Choices, start: float) -> None:
        end = self.clock.now_seconds
        verified = {request: len(choice.nodes) for request, choice in chosen.items()}
        accepted = {request: self._commit(request, choice) for request, choice in chosen.items()}
        self._decisions.on_pass(verified, accepted, start, end)
        self._publish()

    def _commit(self, request: RequestId, choice: Choice) -> int:
        """Commit what the pass found for one request; returns how many drafted tokens were accepted."""
        root = self.endpoint.tree(request).root
        winners = [self._text.token(request, row.position + 1) for row in (root, *choice.nodes)]
        result = self.endpoint.on_verified(request, choice.nodes, choice.parents, winners)
        assert result is not None, "nothing ends a request while its pass runs"
        if result.rolled_back:
            self.mark("rollback", request=request, length=self.endpoint.log(request).length)
        self._decisions.on_guesses(request, result.guesses)
        if result.final is not None:
            self._decoding.remove(request)
            self._decisions.forget(request)
        return len(result.accepted_rows)

    def _publish(self) -> None:
        """Every ready link gets what is newest, and so does the reader of the text."""
        for drafter in self._attached:
            link = self._links[drafter]
            if link.ready and (messages := self.endpoint.messages_for(drafter)):
                link.send([*messages, *self._decisions.price_for(drafter)])
        if commits := self.endpoint.feed():
            self._on_commits(commits)
