"""Whom a draft worker works for: coordinators, each with the target that it decodes with.

Laws:

- A control stream is a client, with an endpoint and a link to a target of its own. All clients share the
  drafter, its slots and each of its steps; what one target does on its link concerns no other.
- A request is one client's, from its open until it is aborted or closed.
- A target has one coordinator, so of two clients that name the same target the older one is let go.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from amusd.rpc.v1 import draft_pb2, target_pb2
from amusd.speculation.drafter import DrafterEndpoint
from amusd.speculation.messages import RequestId
from amusd.speculation.tree import SpeculationTree
from amusd.transport.link import Link

ControlLink = Link[draft_pb2.DraftEvent]
TargetLink = Link[target_pb2.DrafterFrame]


@dataclass(slots=True, eq=False)
class Client:
    """A coordinator and its target.

    Attributes:
        address: of the target, once the coordinator has named it.
        target: the stream to it, while it is up.
        events: what the coordinator is to be told.
        price: what the target asks of a node at present (see `policies.leading`).
    """

    control: ControlLink
    endpoint: DrafterEndpoint
    address: str | None = None
    target: TargetLink | None = None
    events: list[draft_pb2.DraftEvent] = field(default_factory=list)
    price: float = 0.0

    def say_link(self, attached: bool, reason: str) -> None:
        """Tell the coordinator whether the stream to its target is up."""
        state = draft_pb2.LinkState(attached=attached, reason=reason)
        self.events.append(draft_pb2.DraftEvent(link=state))


class Clients:
    """All of them. To a policy they are one: the futures of those whose targets listen.

    Attributes:
        owners: of the open requests.
        unread: those of them whose logs have yet to be read, in order; they have no futures.
        leads: how deep below the root a node is of use, where a request has a cap on what a pass verifies.
    """

    def __init__(self) -> None:
        self._clients: dict[ControlLink, Client] = {}
        self.owners: dict[RequestId, Client] = {}
        self.unread: list[RequestId] = []
        self.leads: dict[RequestId, int] = {}

    def __iter__(self) -> Iterator[Client]:
        """In the order in which they came."""
        return iter(list(self._clients.values()))

    def add(self, client: Client) -> None:
        """One more."""
        self._clients[client.control] = client

    def remove(self, client: Client) -> None:
        """Forget one whose requests are closed."""
        self._clients.pop(client.control, None)

    def of(self, control: ControlLink) -> Client | None:
        """Whose control stream it is; None of one that was let go."""
        return self._clients.get(control)

    def at(self, stream: TargetLink) -> Client | None:
        """Whose present stream to a target it is."""
        return next((client for client in self if client.target is stream), None)

    def requests(self) -> list[RequestId]:
        """The open requests that are read and whose targets listen."""
        linked = (client for client in self if client.target is not None)
        found = [request for client in linked for request in client.endpoint.requests()]
        return [request for request in found if request not in self.unread] if self.unread else found

    def tree(self, request: RequestId) -> SpeculationTree:
        """A request's tree."""
        return self.owners[request].endpoint.tree(request)

    def room(self, request: RequestId) -> int:
        """Nodes that its window still takes."""
        return self.owners[request].endpoint.room(request)

    def depth_max(self, request: RequestId) -> int:
        """How deep below the root a node is of use before the request's length or its cap ends it."""
        deepest = self.owners[request].endpoint.depth_max(request)
        return min(deepest, self.leads.get(request, deepest))
