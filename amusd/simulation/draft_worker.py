"""A drafter of a simulation: the real endpoint and policy, a step that only takes time.

It does what `amusd.workers.draft_engine` does, in the same order.
"""

from functools import partial
from typing import assert_never

from amusd.drafters.base import Expansion
from amusd.simulation.clock import Clock
from amusd.simulation.decisions import DraftDecisions
from amusd.simulation.law import AcceptanceLaw
from amusd.simulation.link import NetworkLink
from amusd.simulation.target_worker import LinkReady, Opened
from amusd.simulation.worker import Costs, Worker
from amusd.speculation.drafter import DrafterEndpoint, LogChange
from amusd.speculation.messages import Attached, Close, Commit, Have, Hello, Price, Propose


class DraftWorker(Worker[Opened | LinkReady | Attached | Commit | Close | Price]):
    """Owns one drafter's endpoint.

    Args:
        law: what it guesses.
        costs: of a step by the nodes that it expands, and of what is beside it.

    Attributes:
        link: to the target; set by the caller before time starts.
    """

    link: NetworkLink[Hello | Propose | Have]

    def __init__(
        self,
        clock: Clock,
        costs: Costs,
        incarnation: int,
        law: AcceptanceLaw,
        decisions: DraftDecisions,
    ) -> None:
        super().__init__(clock, costs)
        self.endpoint = DrafterEndpoint(incarnation, decisions.window)
        self._law = law
        self._decisions = decisions
        self._idle = True

    def attach(self) -> None:
        """Say hello."""
        self.link.send([self.endpoint.hello()])

    def on_event(self, event: Opened | LinkReady | Attached | Commit | Close | Price) -> None:
        """Take one event."""
        self._idle = False
        match event:
            case Opened(ready=True):
                self._prefilled(event, self.clock.now_seconds)
            case Opened():
                self.occupy(
                    "prefill", self.costs.prefill_ms, partial(self._prefilled, event), request=event.request
                )
            case LinkReady():
                pass
            case Price():
                self._decisions.on_price(event)
            case Attached() | Commit() | Close():
                change = self.endpoint.on_message(event)
                if isinstance(event, Close):
                    self._decisions.close(event.request)
                elif change is not None:
                    self._follow(change)
            case _:
                assert_never(event)

    def wait_ns(self) -> int | None:
        """Not at all while there is something to expand."""
        return None if self._idle else 0

    def work(self) -> None:
        """Expand the best futures and send what is new."""
        choices = self._decisions.choose(self.endpoint)
        self._idle = not choices
        if choices:
            self._start_step(choices)
        else:
            self._publish()

    def _prefilled(self, opened: Opened, _start: float) -> None:
        self._decisions.open(opened.request)
        self.endpoint.on_open(opened.request, opened.tokens, opened.length_max)

    def _start_step(self, choices: list[Expansion]) -> None:
        widths: dict[int, int] = {}
        lengths: dict[int, int] = {}
        for choice in choices:
            widths[choice.request] = widths.get(choice.request, 0) + 1
            lengths[choice.request] = max(choice.position, lengths.get(choice.request, 0))
        nodes: list[tuple[int, int]] = []  # filled when the step ends, and noted with it
        self.occupy(
            "draft",
            self.forward_ms([*widths.values()], [*lengths.values()]),
            partial(self._end_step, choices, nodes),
            rows=len(choices),
            nodes=nodes,
        )

    def _end_step(self, choices: list[Expansion], nodes: list[tuple[int, int]], start: float) -> None:
        for choice, found in zip(choices, self._law.expand(choices), strict=True):
            grown = self._decisions.grow(self.endpoint, choice, found)
            nodes.extend((choice.request, node) for node in grown)
        self._decisions.on_step(choices, self.clock.now_seconds - start)
        self._publish()

    def _publish(self) -> None:
        if self.link.ready and (messages := self.endpoint.outgoing()):
            self.link.send(messages)

    def _follow(self, change: LogChange) -> None:
        self._decisions.follow(change)
        if change.committed:
            self.mark("committed", committed=[(change.request, node) for node in change.committed])
        if change.rolled_back:
            self.mark("rollback", request=change.request, length=change.length)
