"""A drafter knows who is late; no stream, thread or model is needed."""

from amusd.drafters.random import RandomDrafter
from amusd.orders import Order
from amusd.params import SamplingParams
from amusd.policies.costs import CostCurve
from amusd.policies.urgency import WEIGHT_MAX
from amusd.speculation.messages import Attached, Close, Commit, RequestId
from amusd.tracing import Recorder
from amusd.workers.draft_engine import DraftEngine, TargetJoined, TargetSaid
from amusd.workers.events import CoordinatorJoined, Opened

LATE, CALM = RequestId(1), RequestId(2)


class Line:
    """A link that takes everything and keeps nothing."""

    ready = True

    def send(self, frames):
        pass


class Recording:
    """A policy that keeps the weights of its last choice, and chooses nothing."""

    window = 64
    costs = CostCurve({})

    def choose(self, futures, least_reach, weights=None):
        self.weights = weights
        return []


def test_a_drafter_weighs_requests_by_their_deadlines_and_by_the_commits_that_it_hears_of():
    policy, line, seconds = Recording(), Line(), 0.0
    engine = DraftEngine(lambda: (RandomDrafter(100), None), 9, policy, Recorder(), ())
    engine.load()
    engine.now = lambda: seconds
    engine.on_event(CoordinatorJoined(line))
    for request, deadline in ((LATE, 10.0), (CALM, None)):
        order = Order(request, (5, 6), 2, 102, frozenset(), 0, 0, SamplingParams(), deadline_seconds=deadline)
        engine.on_event(Opened(line, order))
    engine.on_event(TargetJoined(line, line))
    for request in (LATE, CALM):
        engine.on_event(TargetSaid(line, Attached(request, 2, ())))

    def weights_at(now):
        nonlocal seconds
        seconds = now
        engine.work()
        return policy.weights

    def commit(now, start):
        nonlocal seconds
        seconds = now
        for request in (LATE, CALM):
            engine.on_event(TargetSaid(line, Commit(request, 1, start, (7,), ("own",), None)))

    assert weights_at(0.0) == {}
    for index in range(3):
        commit(0.5 * index, 2 + index)  # two tokens a second: a hundred take fifty
    assert weights_at(1.0) == {LATE: WEIGHT_MAX}
    assert weights_at(10.0) == {}, "too late"
    engine.on_event(TargetSaid(line, Close(LATE)))
    assert weights_at(1.0) == {}
