"""What messages of a worker do to the live requests; no stream is needed for that."""

import asyncio
from dataclasses import replace

import pytest

from amusd.coordinator.live import LiveRequest
from amusd.coordinator.sessions import DraftSession, TargetSession, as_delivered
from amusd.errors import InputError
from amusd.orders import Order
from amusd.params import SamplingParams
from amusd.rpc.v1 import common_pb2, draft_pb2, target_pb2
from amusd.speculation.ledger import Ledger
from amusd.speculation.messages import Commit
from amusd.transport.codec import encode_commits, encode_map


@pytest.fixture
def request_():
    order = Order(7, (1, 2), 2, 50, frozenset(), 0, 0, SamplingParams())
    return LiveRequest(order, Ledger(7, order.tokens))


@pytest.fixture
def told(request_):
    """A target's session over that request, and what it told of welcomes."""
    welcomes = []
    return TargetSession("target", str, pytest.fail, {7: request_}, lambda: welcomes.append(1)), welcomes


def welcome(incarnation):
    return target_pb2.TargetEvent(welcome=common_pb2.Welcome(incarnation=incarnation))


def commit(start, *tokens, incarnation=1, final=None):
    columns = encode_commits([Commit(7, incarnation, start, tokens, ("accepted",) * len(tokens), final)])
    return target_pb2.TargetEvent(commits=target_pb2.Commits(columns=columns))


def test_commits_go_into_the_ledger_and_to_whoever_waits(told, request_):
    session, _ = told
    session.on_reply(welcome(1))
    session.on_reply(commit(2, 5, 6))
    assert tuple(request_.ledger.tokens) == (1, 2, 5, 6)
    assert request_.output_length == 2
    assert request_.notes == []


def test_a_request_is_opened_again_with_everything_that_was_delivered(told, request_):
    session, _ = told
    session.on_reply(commit(2, 5, 6))
    again = as_delivered(request_)
    assert (tuple(again.tokens), again.prompt_length) == ((1, 2, 5, 6), 2)


def test_a_target_that_was_restarted_speaks_for_the_request_and_the_old_one_no_more(told, request_):
    session, welcomes = told
    session.on_reply(welcome(1))
    session.on_reply(commit(2, 5))
    session.on_reply(welcome(2))
    session.on_reply(commit(3, 8))  # on its way since before the restart
    assert tuple(request_.ledger.tokens) == (1, 2, 5)
    session.on_reply(commit(3, 6, incarnation=2))
    assert tuple(request_.ledger.tokens) == (1, 2, 5, 6)
    assert request_.notes == ["the target came back at token 1"]
    assert len(welcomes) == 2


def test_a_target_whose_stream_alone_broke_goes_on_with_the_request(told, request_):
    session, _ = told
    session.on_reply(welcome(1))
    session.on_reply(welcome(1))
    session.on_reply(commit(2, 5))
    assert tuple(request_.ledger.tokens) == (1, 2, 5)
    assert request_.notes == ["the target came back at token 0, without drafts from there"]


def test_a_request_has_finished_when_its_last_commit_and_its_counts_are_here(told, request_):
    session, _ = told
    session.on_reply(commit(2, 5, final="stop"))
    assert not request_.finished
    values = encode_map({"passes": 1})
    session.on_reply(target_pb2.TargetEvent(statistics=target_pb2.Statistics(request=7, values=values)))
    assert request_.finished
    assert request_.statistics == {"passes": 1}


def test_what_comes_for_a_request_that_is_gone_is_passed_over():
    session = TargetSession("target", str, pytest.fail, {}, lambda: None)
    session.on_reply(commit(2, 5))
    session.on_reply(target_pb2.TargetEvent(refused=common_pb2.Refused(request=7)))


async def refusal(request):
    with pytest.raises(InputError) as refused:
        await request.next()
    return str(refused.value)


def test_a_request_that_the_target_refuses_fails_with_the_field(told, request_):
    session, _ = told
    refused = common_pb2.Refused(request=7, field="top_k", value="3", remedy="give more")
    session.on_reply(target_pb2.TargetEvent(refused=refused))
    assert asyncio.run(refusal(request_)) == "top_k: 3: give more"


def test_a_request_is_opened_with_the_time_that_is_left_of_its_deadline(request_):
    assert not as_delivered(request_).HasField("deadline_seconds")
    hurried = replace(request_, order=replace(request_.order, deadline_seconds=5.0))
    hurried.arrived_ns -= 2_000_000_000
    assert as_delivered(hurried).deadline_seconds <= 3.0
    hurried.arrived_ns -= 10_000_000_000
    assert as_delivered(hurried).deadline_seconds <= -7.0


def test_the_target_is_told_that_a_request_takes_no_drafts(request_):
    alone = replace(request_, order=replace(request_.order, speculative=False))
    assert [as_delivered(each).speculative for each in (request_, alone)] == [True, False]


def test_a_drafter_is_absent_until_it_is_attached_to_the_target(request_):
    session = DraftSession("draft 0", str, pytest.fail, {7: request_}, str)
    session.open(request_)
    assert session.absence() == "was not there"
    session.on_reply(draft_pb2.DraftEvent(link=draft_pb2.LinkState(attached=True)))
    assert session.absence() is None
    session.on_reply(draft_pb2.DraftEvent(link=draft_pb2.LinkState(attached=False, reason="closed")))
    assert session.absence() == "was not there"
    session.on_reply(draft_pb2.DraftEvent(link=draft_pb2.LinkState(attached=True)))
    assert request_.notes == ["draft 0 lost the target at token 0 (closed)", "draft 0 came back at token 0"]


def test_a_drafter_that_refuses_a_request_is_told_in_its_notes(request_):
    session = DraftSession("draft 0", str, pytest.fail, {7: request_}, str)
    session.open(request_)
    refused = common_pb2.Refused(request=7, field="max_requests", value="8", remedy="raise it")
    session.on_reply(draft_pb2.DraftEvent(refused=refused))
    assert request_.notes == ["draft 0 does not draft for this request: max_requests: 8: raise it"]
