"""Logprobs on their way to the coordinator: they travel with the commits that they are about."""

from collections.abc import Sequence

from amusd.logprobs import PlacedLogprobs, RowLogprobs
from amusd.speculation.messages import Commit, RequestId


class LogprobFeed:
    """Rows of the requests that want any; empty, and free, for all others.

    Output rows are kept until their request's end was handed out, because a commit may be asked for again.
    """

    def __init__(self) -> None:
        self._prompt: list[PlacedLogprobs] = []
        self._output: dict[RequestId, dict[int, RowLogprobs]] = {}

    def add_prompt(self, request: RequestId, start: int, rows: Sequence[RowLogprobs]) -> None:
        """Rows of prompt tokens from position `start` on; they are handed out at once."""
        self._prompt += [PlacedLogprobs(request, position, row) for position, row in enumerate(rows, start)]

    def add_output(self, request: RequestId, start: int, rows: Sequence[RowLogprobs]) -> None:
        """Rows of committed tokens from position `start` on."""
        if rows:
            self._output.setdefault(request, {}).update(enumerate(rows, start))

    def take(self, commits: Sequence[Commit]) -> list[PlacedLogprobs]:
        """What goes out with some commits."""
        found, self._prompt = self._prompt, []
        for commit in commits:
            rows = self._output.get(commit.request)
            if rows is None:
                continue
            places = range(commit.start, commit.start + len(commit.tokens))
            found += [PlacedLogprobs(commit.request, place, rows[place]) for place in places]
            if commit.final is not None:
                del self._output[commit.request]
        return found

    def forget(self, request: RequestId) -> None:
        """No commit of a request will be handed out any more."""
        self._output.pop(request, None)

    def clear(self) -> None:
        """Forget everything: nobody reads the feed any more."""
        self._prompt.clear()
        self._output.clear()
