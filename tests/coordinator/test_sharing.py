"""Several draft workers with one model: each request is drafted for by one of them."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amusd.coordinator.live import LiveRequest
from amusd.coordinator.sessions import DraftSession
from amusd.coordinator.sharing import DraftGroup, place
from amusd.orders import Order
from amusd.params import SamplingParams
from amusd.rpc.v1 import common_pb2, draft_pb2
from amusd.speculation.ledger import Ledger
from amusd.speculation.messages import Commit

SIZES = st.integers(1, 5)


@given(SIZES, st.integers(0, 20))
def test_while_all_are_there_loads_differ_by_one_at_most(workers, requests):
    placed = {}
    for request in range(requests):
        placed = place([*placed, request], placed, [True] * workers)
        loads = Counter(placed.values())
        assert max(loads.values()) - min(loads[worker] for worker in range(workers)) <= 1
    assert place(range(requests), {}, [True] * workers) == placed


EVENTS = st.tuples(st.sampled_from(["open", "end", "come or go"]), st.integers(0, 59))


@given(st.integers(1, 3), st.lists(EVENTS, max_size=15))
def test_requests_are_with_workers_that_are_there_and_move_for_no_other_reason(workers, events):
    placed, there = {}, [True] * workers
    for new, (event, pick) in enumerate(events):
        requests = list(placed)
        if event == "open":
            requests.append(new)
        elif event == "end" and requests:
            del requests[pick % len(requests)]
        else:
            there[pick % workers] = not there[pick % workers]
        before = {request: worker for request, worker in placed.items() if request in requests}
        placed = place(requests, before, there)
        assert list(placed) == requests
        for request, worker in placed.items():
            assert there[worker] or not any(there)
            if request in before and (there[before[request]] or not any(there)):
                assert worker == before[request]
            elif any(there):
                others = Counter(placed.values())
                assert others[worker] - 1 <= min(others[w] for w in range(workers) if there[w])


def live(identity):
    order = Order(identity, (1, 2), 2, 50, frozenset(), 0, 0, SamplingParams())
    return LiveRequest(order, Ledger(identity, order.tokens))


def attach(session, attached=True, reason=""):
    session.on_reply(draft_pb2.DraftEvent(link=draft_pb2.LinkState(attached=attached, reason=reason)))


@pytest.fixture
def workers():
    """Two sessions with what each was told, as (verb, request, tokens)."""
    told = {}
    sessions = []
    for index in range(2):
        session = DraftSession(f"draft {index}", str, pytest.fail, {}, str)
        commands = told[session.name] = []

        def tell(command, commands=commands):
            match command.WhichOneof("kind"):
                case "open":
                    commands.append(("open", command.open.request, tuple(command.open.tokens)))
                case "abort":
                    commands.append(("abort", command.abort.request))

        session.tell = tell
        sessions.append(session)
    return sessions, told


def test_the_requests_of_a_worker_that_is_gone_move_with_what_was_delivered(workers):
    sessions, told = workers
    group = DraftGroup(sessions)
    for session in sessions:
        attach(session)
    requests = [live(identity) for identity in (1, 2, 3)]
    assert [group.open(request).name for request in requests] == ["draft 0", "draft 1", "draft 0"]
    requests[0].ledger.on_commit(Commit(1, 1, 2, (5, 6), ("own", "own"), None))
    attach(sessions[0], False, "closed")
    assert told["draft 0"][2:] == [("abort", 1), ("abort", 3)]
    assert told["draft 1"] == [("open", 2, (1, 2)), ("open", 1, (1, 2, 5, 6)), ("open", 3, (1, 2))]
    assert requests[0].notes == [
        "draft 0 lost the target at token 2 (closed)",
        "draft 1 took over at token 2",
    ]
    attach(sessions[0])  # what moved stays, what is new goes to the worker that came back
    assert requests[0].notes[2:] == []
    assert group.open(live(4)).name == "draft 0"


def test_with_nobody_there_requests_stay_and_go_to_whoever_comes_first(workers):
    sessions, told = workers
    group = DraftGroup(sessions)
    request = live(1)
    assert group.open(request).name == "draft 0"
    sessions[0].on_reply(draft_pb2.DraftEvent(welcome=common_pb2.Welcome(incarnation=4)))
    assert told["draft 0"] == [("open", 1, (1, 2))] * 2
    attach(sessions[1])
    assert told["draft 1"] == [("open", 1, (1, 2))]
    assert told["draft 0"][2:] == [("abort", 1)]
    for session in sessions:
        session.abort(1)
    assert told["draft 0"][3:] == []
    assert told["draft 1"][1:] == [("abort", 1)]
