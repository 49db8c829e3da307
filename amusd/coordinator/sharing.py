"""Draft workers with the same model share the live requests: each request is drafted for by one of them.

Two that guess with the same model guess the same nodes, so a second one helps only by taking requests off
the first.

Laws:

- While a worker of a group is there, every request of the group is with one that is there.
- A request moves only when its worker is gone and another one is there; with none there it stays where it is.
- One that is new or moves goes to the worker with the fewest requests, of equals to the first.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from amusd.coordinator.live import LiveRequest
from amusd.coordinator.sessions import DraftSession
from amusd.speculation.messages import RequestId


def place(
    requests: Collection[RequestId], placed: Mapping[RequestId, int], there: Sequence[bool]
) -> dict[RequestId, int]:
    """Which worker of a group drafts for each request.

    Args:
        requests: all that are live, in the order of their arrival.
        placed: the workers of those that have one.
        there: of each worker, whether it drafts now; at least one worker.
    """
    usable = [worker for worker, is_there in enumerate(there) if is_there]
    kept = {
        request: placed[request]
        for request in requests
        if request in placed and (there[placed[request]] or not usable)
    }
    loads = Counter(kept.values())
    found = {}
    for request in requests:
        if request not in kept:
            kept[request] = min(usable or range(len(there)), key=lambda worker: loads[worker])
            loads[kept[request]] += 1
        found[request] = kept[request]
    return found


class DraftGroup:
    """The workers of one draft model; each of their sessions knows which requests are its own."""

    def __init__(self, sessions: Sequence[DraftSession]) -> None:
        self._sessions = sessions
        for session in sessions:
            session.on_presence = self.rearrange

    def open(self, request: LiveRequest) -> DraftSession:
        """Have one of the workers draft for a new request, and say which."""
        identity = request.order.request
        chosen = self._sessions[self._place({**self._requests(), identity: request})[identity]]
        chosen.open(request)
        return chosen

    def rearrange(self) -> None:
        """A worker came or went: requests of one that is gone move to one that is there."""
        requests, placed = self._requests(), self._placed()
        for identity, worker in self._place(requests).items():
            if worker != placed[identity]:
                request, session = requests[identity], self._sessions[worker]
                self._sessions[placed[identity]].abort(identity)
                session.open(request)
                request.note(f"{session.name} took over at token {request.output_length}")

    def _place(self, requests: Mapping[RequestId, LiveRequest]) -> dict[RequestId, int]:
        return place(requests, self._placed(), [session.absence() is None for session in self._sessions])

    def _requests(self) -> dict[RequestId, LiveRequest]:
        found = [each for session in self._sessions for each in session.requests.items()]
        return dict(sorted(found))

    def _placed(self) -> dict[RequestId, int]:
        return {
            identity: worker for worker, session in enumerate(self._sessions) for identity in session.requests
        }
