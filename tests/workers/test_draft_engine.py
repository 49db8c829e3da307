"""One draft worker for several coordinators and their targets; no stream, thread or model is needed."""

import pytest

from amusd.drafters.random import RandomDrafter
from amusd.errors import InputError
from amusd.orders import Order
from amusd.params import SamplingParams
from amusd.policies.drafting import draft_policy
from amusd.speculation.messages import Attached, Close, Commit, Have, Hello, Price, Propose, RequestId
from amusd.tracing import Recorder
from amusd.transport.codec import decode_drafter
from amusd.workers.draft_engine import DraftEngine, TargetJoined, TargetLeft, TargetNamed, TargetSaid
from amusd.workers.events import Aborted, CoordinatorJoined, CoordinatorLeft, Opened

SLOTS = 3


class Line:
    """A link that keeps what was sent over it."""

    def __init__(self):
        self.ready, self.closed, self.reason, self.sent = True, False, None, []

    def send(self, frames):
        self.sent += frames

    def close(self, reason=None):
        self.closed, self.reason = True, reason

    def said(self):
        """What a drafter said since the last call."""
        frames, self.sent = self.sent, []
        return [message for frame in frames for message in decode_drafter(frame)]


class FewSlots(RandomDrafter):
    """Guesses blindly, for three requests at most."""

    def __init__(self):
        super().__init__(100)
        self.open_requests = set()

    def open(self, request, *arguments, **options):
        if len(self.open_requests) == SLOTS:
            raise InputError("max_requests", SLOTS, "all slots are taken")
        self.open_requests.add(request)

    def close(self, request):
        self.open_requests.remove(request)


@pytest.fixture
def engine():
    engine = DraftEngine(lambda: (FewSlots(), None), 9, draft_policy("sync", 2), Recorder(), ())
    engine.load()
    return engine


def join(engine, address, *requests):
    """A coordinator with a target at an address, which has attached the requests; their two lines."""
    control, target = Line(), Line()
    engine.on_event(CoordinatorJoined(control))
    engine.on_event(TargetNamed(control, address))
    for request in requests:
        order = Order(RequestId(request), (1, 2), 2, 50, frozenset(), 0, 0, SamplingParams())
        engine.on_event(Opened(control, order))
    while engine._clients.unread:
        engine._read(engine._clients.unread[0])
    engine.on_event(TargetJoined(control, target))
    for request in requests:
        engine.on_event(TargetSaid(target, Attached(RequestId(request), 2, ())))
    return control, target


def proposed(target):
    """For which requests nodes came since the last call."""
    return {message.request for message in target.said() if isinstance(message, Propose)}


def test_one_step_drafts_for_all_targets_and_each_hears_of_its_own_requests(engine):
    _, one = join(engine, "a:1", 1)
    _, two = join(engine, "b:1", 2, 3)
    engine.work()
    hello, *said = one.said()
    assert (hello, {each.request for each in said}) == (Hello(9, {1: 2}), {1})
    hello, *others = two.said()
    assert (hello, {each.request for each in others}) == (Hello(9, {2: 2, 3: 2}), {2, 3})
    nodes = [node.id for each in (*said, *others) if isinstance(each, Propose) for node in each.nodes]
    assert len(set(nodes)) == len(nodes) == 3


def test_a_coordinator_that_leaves_takes_its_requests_and_its_target_with_it(engine):
    control, one = join(engine, "a:1", 1, 2)
    _, two = join(engine, "b:1", 3)
    engine.on_event(CoordinatorLeft(control))
    assert engine.drafter.open_requests == {3}
    assert one.closed
    engine.work()
    assert proposed(two) == {3}
    assert engine.occupancy() == {"requests": 1, "slots": 1, "nodes": 1, "window": 2}


def test_a_newer_coordinator_of_the_same_target_takes_it_over_and_leaves_others_alone(engine):
    older, _ = join(engine, "a:1", 1)
    other, _ = join(engine, "b:1", 2)
    newer, target = join(engine, "a:1", 3)
    assert str(older.reason) == "another coordinator took over the target at a:1"
    assert not other.closed
    assert not newer.closed
    assert engine.drafter.open_requests == {2, 3}
    engine.work()
    assert proposed(target) == {3}


def test_a_coordinator_that_is_back_before_its_old_stream_ended_is_known_by_its_requests(engine):
    older, _ = join(engine, "a:1", 1)
    newer, target = join(engine, "elsewhere:1", 1)
    assert str(older.reason) == "this coordinator came back on a newer stream"
    assert not newer.closed
    engine.work()
    assert proposed(target) == {1}
    engine.on_event(CoordinatorLeft(older))  # late
    assert engine.drafter.open_requests == {1}


def test_without_room_an_order_is_refused_and_taken_once_there_is_some(engine):
    first, _ = join(engine, "a:1", 1, 2)
    second, target = join(engine, "b:1", 3, 4)
    engine.work()
    [refused] = [event.refused for event in second.sent if event.WhichOneof("kind") == "refused"]
    assert (refused.request, refused.field) == (4, "max_requests")
    assert proposed(target) == {3}
    engine.on_event(Aborted(RequestId(1)))
    order = Order(RequestId(4), (1, 2), 2, 50, frozenset(), 0, 0, SamplingParams())
    engine.on_event(Opened(second, order))
    engine.work()
    assert target.said()[0] == Have(4, 2)
    assert not first.closed


def test_a_target_that_breaks_the_protocol_loses_its_own_stream_alone(engine):
    control, one = join(engine, "a:1", 1)
    _, two = join(engine, "b:1", 2)
    for target in (one, two):
        engine.on_event(TargetSaid(target, Commit(RequestId(1), 5, 2, (7,), ("own",), None)))
    engine.on_event(TargetSaid(one, Commit(RequestId(1), 5, 2, (8,), ("own",), None)))
    engine.on_event(TargetSaid(two, Close(RequestId(1))))  # no request of its own
    assert one.closed
    assert not two.closed
    assert engine.drafter.open_requests == {1, 2}
    engine.work()
    assert control.sent[-1].link.reason == "position 2 holds token 7, the sender commits 8 there"
    assert proposed(two) == {2}
    engine.on_event(TargetLeft(two, "closed"))
    before = engine.occupancy()
    engine.work()  # nobody listens
    assert engine.occupancy() == before


def test_a_price_holds_for_its_targets_requests_until_that_target_leaves():
    engine = DraftEngine(lambda: (RandomDrafter(100), None), 9, draft_policy("async", 2), Recorder(), ())
    engine.load()
    control, one = join(engine, "a:1", 1)
    _, two = join(engine, "b:1", 2)
    engine.on_event(TargetSaid(one, Price(0.9)))
    engine.work()
    assert (proposed(one), proposed(two)) == (set(), {2})
    engine.on_event(TargetSaid(one, Commit(RequestId(1), 5, 2, (7,), ("own",), None)))
    engine.work()
    assert proposed(one) == {1}, "a trial, in spite of the price"
    engine.on_event(TargetSaid(one, Commit(RequestId(1), 5, 3, (101,), ("own",), None)))  # no guess is 101
    engine.work()
    assert proposed(one) == set()
    engine.on_event(TargetLeft(one, "closed"))
    again = Line()
    engine.on_event(TargetJoined(control, again))
    engine.on_event(TargetSaid(again, Attached(RequestId(1), 4, ())))
    engine.work()
    assert proposed(again) == {1}


def test_a_log_that_grew_past_the_drafters_positions_or_ended_is_not_read(engine):
    drafter = SlowReader()
    engine = DraftEngine(lambda: (drafter, None), 9, draft_policy("sync", 4), Recorder(), ())
    engine.load()
    control, target = join(engine, "a:1", 1)
    for request, length_max in ((2, 5), (3, 50)):
        order = Order(RequestId(request), (1, 2, 3), 3, length_max, frozenset(), 0, 0, SamplingParams())
        engine.on_event(Opened(control, order))
        engine.on_event(TargetSaid(target, Attached(RequestId(request), 3, ())))
    engine.on_event(TargetSaid(target, Commit(RequestId(2), 5, 3, (7, 7), ("own",) * 2, None)))
    engine.on_event(TargetSaid(target, Commit(RequestId(3), 5, 3, (7,), ("own",), "stop")))
    for _ in range(3):
        engine.work()
    assert drafter.left == {1: 0, 2: 3, 3: 3}
    assert not engine._clients.unread


def test_a_capped_request_is_drafted_for_no_deeper_than_a_pass_and_the_next_can_take():
    engine = DraftEngine(lambda: (RandomDrafter(100), None), 9, draft_policy("amusd", 4), Recorder(), ())
    engine.load()
    control, _ = join(engine, "a:1")
    for request, cap in ((1, None), (2, 2)):
        order = Order(
            RequestId(request), (1,), 1, 50, frozenset(), 0, 0, SamplingParams(), num_speculative_tokens=cap
        )
        engine.on_event(Opened(control, order))
    for _ in range(20):
        engine.work()
    deepest = {request: engine._clients.tree(request).count for request in engine._clients.requests()}
    assert deepest == {1: 9, 2: 5}, "a chain each"
    engine.on_event(Aborted(RequestId(2)))
    assert not engine._clients.leads


class SlowReader(RandomDrafter):
    """Reads no more than a token of a log at a time."""

    def __init__(self):
        super().__init__(100)
        self.left = {}

    def open(self, request, tokens, *arguments, **options):
        self.left[request] = len(tokens)

    def read(self, request, rows_max):
        self.left[request] -= 1
        return self.left[request]

    def expand(self, items):
        assert all(self.left[item.request] == 0 for item in items)
        return super().expand(items)


def test_prompts_are_read_in_parts_while_others_are_drafted_for():
    engine = DraftEngine(lambda: (SlowReader(), None), 9, draft_policy("sync", 4), Recorder(), ())
    engine.load()
    control, target = join(engine, "a:1", 1)
    for request in (2, 3):
        order = Order(RequestId(request), (1, 2, 3), 3, 50, frozenset(), 0, 0, SamplingParams())
        engine.on_event(Opened(control, order))
        engine.on_event(TargetSaid(target, Attached(RequestId(request), 3, ())))
    engine.work()
    assert proposed(target) == {1}
    engine.on_event(TargetSaid(target, Commit(RequestId(2), 5, 3, (7,), ("own",), None)))  # while it is read
    engine.on_event(Aborted(RequestId(3)))
    for _ in range(2):
        engine.work()
        assert proposed(target) == {1}
    engine.work()
    assert proposed(target) == {1, 2}
    assert engine.wait_seconds() == 0.0
    engine.work()
    assert engine.drafter.left == {1: 0, 2: 0, 3: 3}
