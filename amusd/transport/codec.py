"""Messages of the core to and from the wire.

The hot payloads (proposed nodes, commits) are columns, field by field over all requests of one frame, as
msgpack arrays. A node takes some seven bytes: ids as what they are more than the one before, parents as what
they are less than the node's own, scores in steps of an eighth of log odds; these columns share an array.
Everything else is protobuf.

Laws: ``decode(encode(message)) == message``, but for those steps, the last of which is at log odds of 15; a
malformed payload raises ProtocolError naming the side that sent it, never a decoder's own exception.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

import msgpack

from amusd.errors import ProtocolError
from amusd.logprobs import PlacedLogprobs, RowLogprobs
from amusd.rpc.v1 import common_pb2, target_pb2
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
    NodeId,
    Price,
    Propose,
    RequestId,
    score_level,
    score_of_level,
)

NODE_ID_MAX = 1 << 63  # all others are less; what tells of nodes elsewhere has 64 bits for them
COLUMN_VALUES_MAX = 1 << 20  # of one column; a frame is bounded by the gRPC message limit as well

_DRAW_COLUMNS = 7  # of a frame of proposals, where a rule drew siblings from a law that it sends

DrafterMessage = Hello | Propose | Have
TargetMessage = Attached | Commit | Close | Price


def pack(value: object, *, single_floats: bool = False) -> bytes:
    """Msgpack bytes of plain values; floats in four bytes where four are enough, as for weights of draws."""
    return bytes(msgpack.packb(value, use_single_float=single_floats))


def unpack(payload: bytes, sender: str) -> Any:
    """The inverse of ``pack``; raises ProtocolError naming ``sender``."""
    try:
        return msgpack.unpackb(payload, strict_map_key=False, max_array_len=COLUMN_VALUES_MAX)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise ProtocolError(f"the {sender} sent a payload that is no msgpack: {error}") from error


def _columns(payload: bytes, sender: str, *counts: int) -> list[list[Any]]:
    columns = unpack(payload, sender)
    if (
        not isinstance(columns, list)
        or len(columns) not in counts
        or not all(isinstance(c, list) for c in columns)
    ):
        allowed = " or ".join(map(str, counts))
        raise ProtocolError(f"the {sender} sent a payload that is not {allowed} columns")
    return columns


def _split(counts: Sequence[int], columns: Sequence[Sequence[Any]], sender: str) -> list[list[Sequence[Any]]]:
    """Cut each column into runs of ``counts`` values."""
    if any(type(n) is not int or n < 0 for n in counts) or any(len(c) != sum(counts) for c in columns):
        raise ProtocolError(f"the {sender} sent columns of unequal length")
    runs, start = [], 0
    for count in counts:
        runs.append([column[start : start + count] for column in columns])
        start += count
    return runs


def _whole(values: Sequence[Any], sender: str, lowest: int = 0) -> Sequence[int]:
    if any(type(v) is not int or v < lowest for v in values):
        raise ProtocolError(f"the {sender} sent a column with a value that is no whole number >= {lowest}")
    return values


# -- drafter to target ----------------------------------------------------------------------------


def encode_drafter(messages: Sequence[DrafterMessage]) -> list[target_pb2.DrafterFrame]:
    """Frames of one send: all proposals share one frame, parents before children as given."""
    frames = []
    proposals = [m for m in messages if isinstance(m, Propose)]
    for message in messages:
        if isinstance(message, Hello):
            hello = target_pb2.Hello(
                incarnation=message.incarnation,
                requests=list(message.lengths),
                lengths=list(message.lengths.values()),
            )
            frames.append(target_pb2.DrafterFrame(hello=hello))
        elif isinstance(message, Have):
            have = common_pb2.Have(request=message.request, length=message.length)
            frames.append(target_pb2.DrafterFrame(have=have))
    if proposals:
        nodes = [node for proposal in proposals for node in proposal.nodes]
        columns = [
            [proposal.request for proposal in proposals],
            [len(proposal.nodes) for proposal in proposals],
            [  # one after the other: each array of its own would cost three bytes a frame
                *(after - before for before, after in pairwise([0, *(node.id for node in nodes)])),
                *(node.id - node.parent for node in nodes),
                *(node.token for node in nodes),
                *(score_level(node.score) for node in nodes),
            ],
        ]
        if any(proposal.draws for proposal in proposals):
            columns += _draw_columns(proposals)
        frames.append(
            target_pb2.DrafterFrame(propose=target_pb2.Propose(columns=pack(columns, single_floats=True)))
        )
    return frames


def decode_drafter(frame: target_pb2.DrafterFrame) -> list[DrafterMessage]:
    """The messages of one frame from a drafter; raises ProtocolError."""
    match frame.WhichOneof("kind"):
        case "hello":
            if len(frame.hello.requests) != len(frame.hello.lengths):
                raise ProtocolError("the drafter sent a hello with columns of unequal length")
            pairs = zip(frame.hello.requests, frame.hello.lengths, strict=True)
            return [Hello(frame.hello.incarnation, {RequestId(r): n for r, n in pairs})]
        case "have":
            return [Have(RequestId(frame.have.request), frame.have.length)]
        case "propose":
            return _decode_proposals(frame.propose.columns)
        case kind:
            raise ProtocolError(f"the drafter sent a frame of unknown kind {kind!r}")


def _draw_columns(proposals: Sequence[Propose]) -> list[list[Any]]:
    """Draws per proposal, their parents, sizes of both parts, tokens, ids, weights."""
    each = [draws for proposal in proposals for draws in proposal.draws.values()]
    return [
        [len(proposal.draws) for proposal in proposals],
        [parent for proposal in proposals for parent in proposal.draws],
        [len(draws.tokens) for draws in each],
        [len(draws.ids) for draws in each],
        [token for draws in each for token in draws.tokens],
        [token for draws in each for token in draws.ids],
        [weight for draws in each for weight in draws.weights],
    ]


def _decode_proposals(payload: bytes) -> list[DrafterMessage]:
    sender = "drafter"
    columns = _columns(payload, sender, 3, 3 + _DRAW_COLUMNS)
    requests, counts, values = columns[:3]
    size, rest = divmod(len(values), 4)
    if len(requests) != len(counts) or rest:
        raise ProtocolError("the drafter sent columns of unequal length")
    gaps, below, tokens, levels = (values[place * size : (place + 1) * size] for place in range(4))
    for column in (requests, tokens, levels):
        _whole(column, sender)
    if any(level > SCORE_LEVEL_MAX for level in levels):
        raise ProtocolError("the drafter sent a score that is none")
    ids = _whole(list(accumulate(_whole(gaps, sender, lowest=-(1 << 63)))), sender)
    if any(node >= NODE_ID_MAX for node in ids):
        raise ProtocolError("the drafter sent a node id of more than 63 bits")
    parents = [node - less for node, less in zip(ids, _whole(below, sender, lowest=-(1 << 63)), strict=True)]
    scores = [score_of_level(level) for level in levels]
    runs = _split(counts, (ids, parents, tokens, scores), sender)
    draws = _decode_draws(columns[3:], len(requests)) if len(columns) > 3 else [{} for _ in requests]
    proposals: list[DrafterMessage] = []
    for request, run, drawn in zip(requests, runs, draws, strict=True):
        nodes = tuple(Node(NodeId(i), p, t, s) for i, p, t, s in zip(*run, strict=True))
        proposals.append(Propose(RequestId(request), nodes, drawn))
    return proposals


def _decode_draws(columns: Sequence[list[Any]], proposals: int) -> list[dict[int, Draws]]:
    """What each proposal drew below which parents."""
    sender = "drafter"
    counts, parents, token_counts, id_counts, tokens, ids, weights = columns
    _whole(parents, sender, lowest=-(1 << 62))
    _whole(tokens, sender)
    _whole(ids, sender)
    if any(type(weight) is not float for weight in weights):
        raise ProtocolError("the drafter sent a weight that is no float")
    if len(counts) != proposals or len(token_counts) != len(id_counts):
        raise ProtocolError("the drafter sent columns of unequal length")
    drawn, laws = _split(token_counts, (tokens,), sender), _split(id_counts, (ids, weights), sender)
    each = [Draws(tuple(d[0]), tuple(law[0]), tuple(law[1])) for d, law in zip(drawn, laws, strict=True)]
    return [dict(zip(*run, strict=True)) for run in _split(counts, (parents, each), sender)]


# -- target to drafter and to the coordinator --------------------------------------------------------


def encode_target(messages: Sequence[TargetMessage]) -> target_pb2.TargetFrame:
    """One frame with everything that is newest for a drafter."""
    frame = target_pb2.TargetFrame()
    commits = []
    for message in messages:
        match message:
            case Attached():
                frame.attached.add(request=message.request, start=message.start, tokens=message.tokens)
            case Close():
                frame.closed.add(request=message.request)
            case Commit():
                commits.append(message)
            case Price():
                frame.price = message.reach
    if commits:
        frame.commits.columns = encode_commits(commits)
    return frame


def decode_target(frame: target_pb2.TargetFrame) -> list[TargetMessage]:
    """The messages of one frame from the target: Attached, then Commit, then Close, then Price."""
    messages: list[TargetMessage] = [
        Attached(RequestId(a.request), a.start, tuple(a.tokens)) for a in frame.attached
    ]
    if frame.HasField("commits"):
        messages.extend(decode_commits(frame.commits.columns))
    messages.extend(Close(RequestId(c.request)) for c in frame.closed)
    if frame.HasField("price"):
        if not 0.0 <= frame.price < math.inf:
            raise ProtocolError(f"the target asks a price of {frame.price}, which is no chance")
        messages.append(Price(frame.price))
    return messages


def encode_commits(commits: Sequence[Commit]) -> bytes:
    """Columns: requests, incarnations, starts, counts, finals, tokens, origins (places in `ORIGINS`)."""
    return pack(
        [
            [commit.request for commit in commits],
            [commit.incarnation for commit in commits],
            [commit.start for commit in commits],
            [len(commit.tokens) for commit in commits],
            [commit.final for commit in commits],
            [token for commit in commits for token in commit.tokens],
            [ORIGINS.index(origin) for commit in commits for origin in commit.origins],
        ]
    )


def decode_commits(payload: bytes) -> list[Commit]:
    """The inverse of ``encode_commits``; raises ProtocolError."""
    sender = "target"
    requests, incarnations, starts, counts, finals, tokens, origins = _columns(payload, sender, 7)
    if not len(requests) == len(incarnations) == len(starts) == len(counts) == len(finals):
        raise ProtocolError("the target sent columns of unequal length")
    for column in (requests, incarnations, starts, tokens, origins):
        _whole(column, sender)
    if any(final is not None and not isinstance(final, str) for final in finals):
        raise ProtocolError("the target sent a finish reason that is no text")
    if any(not 0 <= place < len(ORIGINS) for place in origins):
        raise ProtocolError("the target sent a token's origin that is none")
    runs = _split(counts, (tokens, origins), sender)
    return [
        Commit(RequestId(r), i, s, tuple(run[0]), tuple(ORIGINS[place] for place in run[1]), f)
        for r, i, s, f, run in zip(requests, incarnations, starts, finals, runs, strict=True)
    ]


def encode_logprobs(placed: Sequence[PlacedLogprobs]) -> bytes:
    """Columns: requests, positions, ranks, counts, token ids, logprobs; no bytes at all for no rows."""
    if not placed:
        return b""
    rows = [each.row for each in placed]
    columns = [
        [each.request for each in placed],
        [each.position for each in placed],
        [row.rank for row in rows],
        [len(row.token_ids) for row in rows],
        [token for row in rows for token in row.token_ids],
        [logprob for row in rows for logprob in row.logprobs],
    ]
    return pack(columns, single_floats=True)


def decode_logprobs(payload: bytes) -> list[PlacedLogprobs]:
    """The inverse of ``encode_logprobs``; raises ProtocolError."""
    if not payload:
        return []
    sender = "target"
    requests, positions, ranks, counts, tokens, logprobs = _columns(payload, sender, 6)
    if not len(requests) == len(positions) == len(ranks) == len(counts):
        raise ProtocolError("the target sent columns of unequal length")
    for column in (requests, positions, ranks, tokens):
        _whole(column, sender)
    if any(type(logprob) is not float for logprob in logprobs):
        raise ProtocolError("the target sent a logprob that is no float")
    runs = _split(counts, (tokens, logprobs), sender)
    return [
        PlacedLogprobs(RequestId(request), position, RowLogprobs(tuple(run[0]), tuple(run[1]), rank))
        for request, position, rank, run in zip(requests, positions, ranks, runs, strict=True)
    ]


def encode_map(values: Mapping[str, object]) -> bytes:
    """A map with text keys, for parameters and statistics."""
    return pack(dict(values))


def decode_map(payload: bytes, sender: str) -> dict[str, Any]:
    """The inverse of ``encode_map``; raises ProtocolError."""
    values = unpack(payload, sender)
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise ProtocolError(f"the {sender} sent a payload that is no map with text keys")
    return values
