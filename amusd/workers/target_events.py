"""What happens to a target's engine from outside."""

from dataclasses import dataclass

from amusd.rpc.v1 import target_pb2
from amusd.speculation.messages import DrafterId, Have, Hello, Propose
from amusd.transport.link import Link
from amusd.workers.events import Aborted, CoordinatorJoined, CoordinatorLeft, LinkReady, Opened

ControlLink = Link[target_pb2.TargetEvent]
DrafterLink = Link[target_pb2.TargetFrame]


@dataclass(frozen=True, slots=True)
class FeedGap:
    """The coordinator's log of a request ends earlier than the feed believed."""

    have: Have


@dataclass(frozen=True, slots=True)
class DrafterJoined:
    """A drafter said hello on a fresh stream."""

    drafter: DrafterId
    link: DrafterLink
    hello: Hello


@dataclass(frozen=True, slots=True)
class DrafterLeft:
    """A drafter's stream is gone."""

    drafter: DrafterId


@dataclass(frozen=True, slots=True)
class DrafterSaid:
    """A drafter's message, and when it arrived: during a pass it waits for the engine."""

    drafter: DrafterId
    message: Propose | Have
    at: float


TargetInput = (
    CoordinatorJoined
    | CoordinatorLeft
    | Opened
    | Aborted
    | FeedGap
    | DrafterJoined
    | DrafterLeft
    | DrafterSaid
    | LinkReady
)
