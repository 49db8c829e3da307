"""What both engines hear: from their coordinator, and from their own streams."""

from dataclasses import dataclass
from typing import Any

from amusd.orders import Order
from amusd.speculation.messages import RequestId
from amusd.transport.link import Link

ControlLink = Link[Any]  # of target_pb2.TargetEvent at the target, of draft_pb2.DraftEvent at a drafter


@dataclass(frozen=True, slots=True)
class CoordinatorJoined:
    """A coordinator's stream is up; an older coordinator is told so, and its requests end."""

    link: ControlLink


@dataclass(frozen=True, slots=True)
class CoordinatorLeft:
    """The stream is gone, and with it whoever would read the answers."""

    link: ControlLink


@dataclass(frozen=True, slots=True)
class Opened:
    """A new request, or an old one to go on with."""

    link: ControlLink
    order: Order


@dataclass(frozen=True, slots=True)
class Aborted:
    """Nobody wants this request any more."""

    request: RequestId


@dataclass(frozen=True, slots=True)
class LinkReady:
    """A stream has written its frame and can take the next."""
