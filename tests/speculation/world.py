"""A coordinator, a target and two drafters over streams that delay, break and repeat.

Every process is a real endpoint; only the streams and the models are made up. Each stream keeps its
order and nothing else: a message waits as long as the test likes, a broken stream loses what was on
its way, and a commit may arrive twice. Messages are copied, so peers cannot share memory.
"""

import copy
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from amusd.speculation.drafter import DrafterEndpoint
from amusd.speculation.ledger import Ledger
from amusd.speculation.messages import Close, Commit, DrafterId, Have, Hello, NodeId, Propose, RequestId
from amusd.speculation.target import TargetEndpoint
from amusd.speculation.tree import TreeNode

from .fake_target import END, LIMITS, LOOKUP, REQUESTS_MAX, VOCABULARY_SIZE, WINDOW, next_token
from .invariants import check, check_change, check_followed, check_verifiable


@dataclass
class Order:
    request: RequestId
    prompt: tuple[int, ...]
    length_max: int
    ledger: Ledger
    holders: set[int]  # the drafters that it is opened on
    aborted: bool = False


@dataclass
class DrafterProcess:
    endpoint: DrafterEndpoint
    link: DrafterId | None = None
    up: deque[Any] = field(default_factory=deque)
    down: deque[Any] = field(default_factory=deque)
    control: deque[Any] = field(default_factory=deque)


@dataclass
class Pass:
    request: RequestId
    nodes: list[TreeNode]
    parents: list[int]
    winners: list[int]


class World:
    def __init__(self) -> None:
        self.counter = 0
        self.orders: dict[RequestId, Order] = {}
        self.truth: dict[tuple[int, RequestId, NodeId], tuple[int, ...]] = {}
        self.links: dict[DrafterId, int] = {}  # link -> drafter incarnation
        self.looked_up: set[tuple[RequestId, tuple[int, ...]]] = set()  # paths that the lookup guessed
        self.control: deque[Any] = deque()
        self.feed_stream: deque[Commit] = deque()
        self.passes: list[Pass] = []
        self.target = TargetEndpoint(self.fresh(), VOCABULARY_SIZE, LIMITS)
        self.drafters = [self._boot(), self._boot()]

    def fresh(self) -> int:
        self.counter += 1
        return self.counter

    def _boot(self) -> DrafterProcess:
        return DrafterProcess(DrafterEndpoint(self.fresh(), WINDOW, LIMITS.frame_nodes_max))

    # The coordinator.

    def live(self) -> list[Order]:
        return [order for order in self.orders.values() if order.ledger.final is None and not order.aborted]

    def open(
        self, prompt: tuple[int, ...], output_max: int, holders: tuple[int, ...] = (0, 1)
    ) -> Order | None:
        if len(self.live()) >= REQUESTS_MAX:
            return None
        request = RequestId(self.fresh())
        order = Order(request, prompt, len(prompt) + output_max, Ledger(request, prompt), set(holders))
        self.orders[request] = order
        self.control.append(("open", request, prompt))
        for index in holders:
            self.drafters[index].control.append(("open", request, prompt))
        return order

    def abort(self, order: Order) -> None:
        order.aborted = True
        self.control.append(("abort", order.request, ()))
        self._close_at_drafters(order.request)

    def _close_at_drafters(self, request: RequestId) -> None:
        for drafter in self.drafters:
            drafter.control.append(("abort", request, ()))

    def _reopen_at_target(self) -> None:
        for order in self.live():
            self.control.append(("open", order.request, tuple(order.ledger.tokens)))
        for order in self.orders.values():
            if order.aborted:
                self.control.append(("abort", order.request, ()))

    def deliver_feed(self, *, twice: bool = False) -> None:
        if not self.feed_stream:
            return
        commit = self.feed_stream.popleft()
        order = self.orders[commit.request]
        for _ in range(1 + twice):
            was_final = order.ledger.final
            delivery = order.ledger.on_commit(commit)
            if delivery.have is not None:
                self.control.append(("have", delivery.have.request, delivery.have))
            if was_final is None and order.ledger.final is not None:
                self._close_at_drafters(order.request)

    # The target.

    def deliver_control(self) -> None:
        if not self.control:
            return
        verb, request, argument = self.control.popleft()
        order = self.orders[request]
        if verb == "open":
            end_tokens = frozenset({END})
            self.target.on_open(request, argument, len(order.prompt), order.length_max, end_tokens)
        elif verb == "abort":
            self.target.on_abort(request)
        else:
            self.target.on_feed_have(argument)

    def deliver_up(self, index: int) -> None:
        drafter = self.drafters[index]
        if not drafter.up:
            return
        message = drafter.up.popleft()
        link = drafter.link
        assert link is not None
        match message:
            case Hello():
                assert self.target.on_attach(link, message) is None
            case Propose():
                received = self.target.on_propose(link, message)
                assert received.live + received.late + received.stale == len(message.nodes)
            case Have():
                self.target.on_have(link, message)

    def hand_out(self, index: int) -> None:
        drafter = self.drafters[index]
        if drafter.link in self.target.drafters():
            drafter.down.extend(copy.deepcopy(self.target.messages_for(drafter.link)))

    def feed(self) -> None:
        self.feed_stream.extend(copy.deepcopy(self.target.feed()))

    def look_up(self, pick: int, guesses: Sequence[int | None]) -> None:
        """The target's lookup guesses a chain below some live node, or below the root."""
        requests = self.target.requests()
        if not requests:
            return
        request = requests[pick % len(requests)]
        tree, log = self.target.tree(request), tuple(self.target.log(request).tokens)
        nodes = [tree.root, *tree.nodes()]
        below = nodes[pick % len(nodes)]
        path = log + tree.path(below)
        found: list[tuple[int, int, float]] = []
        for guess in guesses[: self.target.room(request) - (below.position - tree.root.position)]:
            path += (next_token(path) if guess is None else guess,)
            self.looked_up.add((request, path))
            found.append((len(found) - 1, path[-1], 0.5))
        self.target.on_guess(LOOKUP, request, found, None if below is tree.root else below)

    def begin_pass(self, nodes_max: int, *, branches: bool) -> None:
        """Plan a pass over every request that is not in one, and compute the target's own tokens."""
        busy = {each.request for each in self.passes}
        for request in self.target.requests():
            if request in busy:
                continue
            tree = self.target.tree(request)
            limit = min(nodes_max, self.target.room(request))
            nodes = tree.best_nodes(nodes_max) if branches else tree.principal_chain(limit)[0]
            rows: list[TreeNode] = [tree.root, *nodes]
            log = tuple(self.target.log(request).tokens)
            check_verifiable(self, request, log, nodes)
            winners = [next_token(log + tree.path(row)) for row in rows]
            parents = [rows.index(node.parent) for node in nodes if node.parent is not None]
            self.passes.append(Pass(request, nodes, parents, winners))

    def finish_pass(self) -> None:
        if not self.passes:
            return
        done = self.passes.pop(0)
        before = self.target.log(done.request).length if done.request in self.target.requests() else None
        verified = self.target.on_verified(done.request, done.nodes, done.parents, done.winners)
        if before is None:
            assert verified is None
        else:
            assert verified is not None
            assert self.target.log(done.request).length == before + len(verified.emitted) > before

    # A drafter.

    def deliver_drafter_control(self, index: int) -> None:
        drafter = self.drafters[index]
        if not drafter.control:
            return
        verb, request, tokens = drafter.control.popleft()
        if verb == "open":
            drafter.endpoint.on_open(request, tokens, self.orders[request].length_max)
        else:
            drafter.endpoint.on_abort(request)

    def deliver_down(self, index: int, *, twice: bool = False) -> None:
        drafter = self.drafters[index]
        if not drafter.down:
            return
        message = drafter.down.popleft()
        repeats = 2 if twice and isinstance(message, Commit) else 1
        for _ in range(repeats):
            change = drafter.endpoint.on_message(message)
            if isinstance(message, Close):
                assert message.request not in drafter.endpoint.requests()
            elif change is not None:
                check_change(self, drafter.endpoint, change)

    def draft(self, index: int, pick: int, guesses: Sequence[int | None]) -> None:
        """Grow a chain below some live node; a guess of None is the target's own token."""
        endpoint = self.drafters[index].endpoint
        requests = endpoint.requests()
        if not requests:
            return
        request = requests[pick % len(requests)]
        tree = endpoint.tree(request)
        choices: list[TreeNode] = [tree.root, *tree.nodes()]
        parent = choices[pick % len(choices)]
        for guess in guesses:
            path = tuple(endpoint.log(request).tokens) + tree.path(parent)
            token = next_token(path) if guess is None else guess
            grown = endpoint.grow(request, parent.id, [(token, 0.9 if guess is None else 0.3)])
            for node in grown:
                self.truth[endpoint.incarnation, request, node] = (*path, token)
            child = parent.children.get(token)
            if child is None:
                return
            parent = child

    def send(self, index: int) -> None:
        drafter = self.drafters[index]
        messages = drafter.endpoint.outgoing()
        if drafter.link is None:
            assert not messages
        drafter.up.extend(copy.deepcopy(messages))

    # What goes wrong.

    def connect(self, index: int) -> None:
        drafter = self.drafters[index]
        if drafter.link is None:
            drafter.link = DrafterId(self.fresh())
            self.links[drafter.link] = drafter.endpoint.incarnation
            drafter.up.append(copy.deepcopy(drafter.endpoint.hello()))

    def cut(self, index: int) -> None:
        drafter = self.drafters[index]
        if drafter.link is not None:
            self.target.on_detach(drafter.link)
            drafter.endpoint.on_link_lost()
            drafter.link = None
            drafter.up.clear()
            drafter.down.clear()

    def restart_drafter(self, index: int) -> None:
        self.cut(index)
        self.drafters[index] = self._boot()
        for order in self.live():
            if index in order.holders:
                self.drafters[index].control.append(("open", order.request, tuple(order.ledger.tokens)))

    def hand_over(self, index: int) -> None:
        """A drafter loses its link, and what it alone drafted for goes to the other one."""
        self.cut(index)
        for order in self.live():
            if order.holders == {index}:
                order.holders = {1 - index}
                self.drafters[index].control.append(("abort", order.request, ()))
                self.drafters[1 - index].control.append(("open", order.request, tuple(order.ledger.tokens)))

    def restart_target(self) -> None:
        for index in range(len(self.drafters)):
            self.cut(index)
        self.target = TargetEndpoint(self.fresh(), VOCABULARY_SIZE, LIMITS)
        self.passes.clear()
        for order in self.live():
            order.ledger.reopen()
        self.break_feed()

    def break_feed(self) -> None:
        self.feed_stream.clear()
        self.control.clear()
        self._reopen_at_target()

    def settle(self) -> None:
        """Mend every stream and run until all requests have ended: it takes a pass per token at most."""
        for index in range(len(self.drafters)):
            self.connect(index)
        for _ in range(4 + max((order.length_max for order in self.orders.values()), default=0)):
            self.flush()
            self.begin_pass(4, branches=False)
            while self.passes:
                self.finish_pass()
            self.flush()
        check(self)
        assert not self.live(), "a request hangs"
        assert not self.target.requests()
        assert not any(drafter.endpoint.requests() for drafter in self.drafters)

    def flush(self) -> None:
        """Deliver everything, answers to it included."""
        streams = [self.control, self.feed_stream]
        for drafter in self.drafters:
            streams += [drafter.control, drafter.up, drafter.down]
        for _ in range(100):
            self.feed()
            for index in range(len(self.drafters)):
                self.send(index)
                self.hand_out(index)
            if not any(streams):
                check_followed(self)
                return
            self.deliver_control()
            self.deliver_feed()
            for index in range(len(self.drafters)):
                self.deliver_drafter_control(index)
                self.deliver_up(index)
                self.deliver_down(index)
        raise AssertionError("the streams never fall silent")
