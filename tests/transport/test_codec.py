"""Messages survive the wire, and nothing else does."""

import math

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from amusd.errors import ProtocolError
from amusd.logprobs import PlacedLogprobs, RowLogprobs
from amusd.rpc.v1 import target_pb2
from amusd.speculation.messages import (
    ORIGINS,
    SCORE_LEVEL_MAX,
    Attached,
    Close,
    Commit,
    Draws,
    Have,
    Hello,
    Node,
    Price,
    Propose,
    score_level,
    score_of_level,
)
from amusd.transport import codec

ids = st.integers(0, 2**63 - 1)
tokens = st.integers(0, 2**31 - 1)
nodes = st.builds(
    Node,
    id=ids,
    parent=st.integers(-(2**31), 2**62),
    token=tokens,
    score=st.integers(0, SCORE_LEVEL_MAX).map(score_of_level),
)
parents = st.integers(-(2**31), 2**62)
weights = st.floats(2**-126, 1, width=32)


@st.composite
def draws(draw):
    law = draw(st.dictionaries(tokens, weights, min_size=1, max_size=5))
    drawn = draw(st.lists(st.sampled_from(sorted(law)), min_size=1, max_size=4))
    return Draws(tuple(drawn), tuple(sorted(law)), tuple(law[token] for token in sorted(law)))


proposals = st.builds(
    Propose,
    request=ids,
    nodes=st.lists(nodes, max_size=5).map(tuple),
    draws=st.dictionaries(parents, draws(), max_size=3),
)


@st.composite
def commits(draw):
    found = tuple(draw(st.lists(st.tuples(tokens, st.sampled_from(ORIGINS)), max_size=6)))
    return Commit(
        request=draw(ids),
        incarnation=draw(ids),
        start=draw(st.integers(0, 2**31)),
        tokens=tuple(token for token, _ in found),
        origins=tuple(origin for _, origin in found),
        final=draw(st.sampled_from([None, "stop", "length", "abort"])),
    )


def through_the_wire(message):
    return type(message).FromString(message.SerializeToString())


@given(st.lists(proposals, max_size=4))
def test_proposals_of_all_requests_share_one_frame_and_come_back_equal(messages):
    frames = codec.encode_drafter(messages)
    assert len(frames) == bool(messages)
    assert [m for f in frames for m in codec.decode_drafter(through_the_wire(f))] == messages


@given(st.floats(2**-20, 1, width=32))
def test_scores_are_rounded_to_steps_of_their_log_odds(score):
    rounded = score_of_level(score_level(score))
    assert 0 < rounded <= 1
    assert rounded == pytest.approx(score, rel=0.07)
    assert 1 - rounded == pytest.approx(1 - score, rel=0.07, abs=1e-6)


@given(st.dictionaries(ids, st.integers(0, 2**31), max_size=4), ids)
def test_hello_comes_back_equal(lengths, incarnation):
    hello = Hello(incarnation, lengths)
    [frame] = codec.encode_drafter([hello])
    assert codec.decode_drafter(through_the_wire(frame)) == [hello]


def test_have_comes_back_equal():
    [frame] = codec.encode_drafter([Have(7, 12)])
    assert codec.decode_drafter(through_the_wire(frame)) == [Have(7, 12)]


@given(st.lists(commits(), max_size=4), st.lists(ids, max_size=2))
def test_what_is_newest_for_a_drafter_comes_back_equal(found, closed):
    messages = [Attached(1, 5, (6, 7)), *found, *(Close(request) for request in closed)]
    assert codec.decode_target(through_the_wire(codec.encode_target(messages))) == messages


@given(st.floats(0, 1e6, width=32))
@example(0.0)
def test_a_price_comes_back_equal_after_all_else(reach):
    messages = [Attached(1, 5, (6, 7)), Close(2), Price(reach)]
    assert codec.decode_target(through_the_wire(codec.encode_target(messages))) == messages


@pytest.mark.parametrize("price", [-0.1, math.inf, -math.inf, math.nan])
def test_a_price_that_no_chance_reaches_or_all_exceed_is_refused(price):
    with pytest.raises(ProtocolError, match=r"the target asks a price of .*, which is no chance"):
        codec.decode_target(through_the_wire(target_pb2.TargetFrame(price=price)))


GOOD = [[1], [1], [5, 8, 9, 120]]  # request, number of nodes; id, id less parent, token, score


@pytest.mark.parametrize(
    "columns",
    [
        b"\xc1",
        msgpack.packb({"a": 1}),
        msgpack.packb(GOOD[:2]),
        msgpack.packb([GOOD[0], [2], GOOD[2]]),
        msgpack.packb([[1, 2], *GOOD[1:]]),
        msgpack.packb([GOOD[0], [-1], GOOD[2]]),
        msgpack.packb([[1, 1], [2, -1], GOOD[2]]),
        msgpack.packb([*GOOD[:2], ["5", 8, 9, 120]]),
        msgpack.packb([*GOOD[:2], [True, 8, 9, 120]]),
        msgpack.packb([*GOOD[:2], [-1, 8, 9, 120]]),
        msgpack.packb([*GOOD[:2], [1 << 63, 8, 9, 120]]),
        msgpack.packb([*GOOD[:2], [5, 8, -1, 120]]),
        msgpack.packb([*GOOD[:2], [5, 8, 9, 0.5]]),
        msgpack.packb([*GOOD[:2], [5, 8, 9, SCORE_LEVEL_MAX + 1]]),
        msgpack.packb([*GOOD[:2], [5, 8, 9]]),
        msgpack.packb([*GOOD[:2], [5, 8, 9, 120, 6]]),
        msgpack.packb([1, 2, 3]),
    ],
)
def test_a_malformed_proposal_names_the_drafter(columns):
    frame = target_pb2.DrafterFrame(propose=target_pb2.Propose(columns=columns))
    with pytest.raises(ProtocolError, match="the drafter sent"):
        codec.decode_drafter(frame)


def test_a_column_that_is_too_long_is_refused_before_it_takes_memory():
    payload = msgpack.packb([0] * (codec.COLUMN_VALUES_MAX + 1))
    with pytest.raises(ProtocolError, match=r"the target sent a payload that is no msgpack: .*exceeds"):
        codec.unpack(payload, "target")


def test_the_well_formed_twin_of_those_is_taken():
    frame = target_pb2.DrafterFrame(propose=target_pb2.Propose(columns=msgpack.packb(GOOD)))
    assert codec.decode_drafter(frame) == [Propose(1, (Node(5, -3, 9, 0.5),))]


def test_an_empty_frame_is_refused():
    with pytest.raises(ProtocolError, match="unknown kind"):
        codec.decode_drafter(target_pb2.DrafterFrame())


def test_a_node_costs_few_bytes():
    chain = tuple(Node(1000 + i, 999 + i, 2000, 0.5) for i in range(8))
    [empty], [full] = (codec.encode_drafter([Propose(3, nodes)]) for nodes in ((), chain))
    assert full.ByteSize() - empty.ByteSize() <= 7 * len(chain)


@given(st.dictionaries(st.text(max_size=8), st.integers(0, 100), max_size=4))
def test_maps_come_back_equal(values):
    assert codec.decode_map(codec.encode_map(values), "target") == values


def test_a_map_with_other_keys_is_refused():
    with pytest.raises(ProtocolError, match="text keys"):
        codec.decode_map(msgpack.packb({1: 2}), "coordinator")


@st.composite
def placed_logprobs(draw):
    pairs = draw(st.lists(st.tuples(tokens, st.floats(-1e3, 0, width=32)), min_size=1, max_size=4))
    row = RowLogprobs(tuple(t for t, _ in pairs), tuple(p for _, p in pairs), draw(tokens))
    return PlacedLogprobs(draw(ids), draw(st.integers(0, 2**31)), row)


@given(st.lists(placed_logprobs(), max_size=4))
def test_logprobs_come_back_equal_to_the_last_bit_and_cost_nothing_where_there_are_none(placed):
    payload = codec.encode_logprobs(placed)
    assert codec.decode_logprobs(payload) == placed
    assert bool(payload) == bool(placed)


GOOD_LOGPROBS = [[1], [5], [2], [2], [9, 8], [-0.5, -1.5]]


@pytest.mark.parametrize(
    ("column", "value"), [(0, [-1]), (1, []), (2, [True]), (3, [3]), (4, [9, "x"]), (5, [-0.5, 1])]
)
def test_malformed_logprobs_name_the_target(column, value):
    columns = [*GOOD_LOGPROBS[:column], value, *GOOD_LOGPROBS[column + 1 :]]
    assert codec.decode_logprobs(msgpack.packb(GOOD_LOGPROBS))
    with pytest.raises(ProtocolError, match="the target sent"):
        codec.decode_logprobs(msgpack.packb(columns))


def test_an_origin_that_is_none_names_the_target():
    columns = [[1], [7], [2], [1], [None], [5], [len(ORIGINS)]]
    with pytest.raises(ProtocolError, match="the target sent a token's origin that is none"):
        codec.decode_commits(msgpack.packb(columns))


def test_a_frame_without_draws_has_no_room_for_them():
    [frame] = codec.encode_drafter([Propose(1, (Node(1, -2, 5, 0.5),))])
    assert len(msgpack.unpackb(frame.propose.columns)) == 3


@pytest.mark.parametrize(
    ("column", "value", "match"),
    [
        (3, [2], "unequal length"),
        (3, [1, 0], "unequal length"),
        (4, ["1"], "no whole number"),
        (5, [2], "unequal length"),
        (6, [1, 1], "unequal length"),
        (7, [-1], "no whole number"),
        (8, [5.0, 6], "no whole number"),
        (9, [1, 0.5], "weight that is no float"),
        (9, [0.5], "unequal length"),
    ],
)
def test_malformed_draws_are_the_drafters_fault(column, value, match):
    message = Propose(1, (Node(1, -2, 5, 0.5),), {-2: Draws((5,), (5, 6), (0.5, 0.5))})
    [frame] = codec.encode_drafter([message])
    columns = msgpack.unpackb(frame.propose.columns)
    columns[column] = value
    frame.propose.columns = codec.pack(columns)
    with pytest.raises(ProtocolError, match=f"drafter sent a? ?.*{match}"):
        codec.decode_drafter(frame)
