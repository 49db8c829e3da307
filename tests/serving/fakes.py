"""A coordinator without workers: its tokens are a count from the prompt's last token on."""

import asyncio
import time

from amusd.coordinator.admission import check_request
from amusd.logprobs import Logprob
from amusd.outputs import Chunk, RequestOutput
from amusd.rpc.v1 import target_pb2
from amusd.tracing import Event, Track
from tests.cli.fakes import METRICS


async def until(condition):
    """Let the loop turn until it is so; the test's own timeout ends a wait in vain."""
    while not condition():  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0)


class FakeCoordinator:
    """Decodes one token a step; `hold` stops it before the first."""

    failure = None

    def __init__(self, reader, requests_max=2):
        self.reader = reader
        self.asked = []
        self.open_count = self.live_count = 0
        self.hold = asyncio.Event()
        self.hold.set()
        self.error = None
        self._places = asyncio.Semaphore(requests_max)

    def check(self, tokens, params):
        check_request(
            tokens,
            params,
            vocabulary_size=self.reader.vocabulary_size,
            length_max=self.reader.length_max,
            rule="race",
        )

    async def stream(self, prompt, tokens, params, wishes=None):
        self.asked.append((prompt, tokens, params, wishes))
        self.open_count += 1
        try:
            async with self._places:
                self.live_count += 1
                try:
                    await self.hold.wait()
                    for index in range(params.n):
                        async for chunk in self._chunks(prompt, tokens, params, index):
                            yield chunk
                finally:
                    self.live_count -= 1
        finally:
            self.open_count -= 1

    async def tracks(self, since_ns):
        now = time.monotonic_ns()
        passed = Event("pass", now - 2_000_000, now - 1_000_000, {})
        return Track("target", (passed, Event("rollback", now, now, {}))), [Track("draft 0")]

    async def trees(self, nodes_max):
        guesses = [(6, 0, 0.5), (7, 1, 0.25)]
        guesses = [target_pb2.Guess(token=t, parent=p, reach=r) for t, p, r in guesses[:nodes_max]]
        return [target_pb2.Tree(request=1, token=5, guesses=guesses)]

    async def _chunks(self, prompt, tokens, params, index):
        output, text, rows = [], "", []
        for step in range(1, min(params.max_tokens or 5, 5) + 1):
            await asyncio.sleep(0)
            if self.error is not None:
                raise self.error
            token = (tokens[-1] + step) % 100
            output.append(token)
            piece = f" {token}"
            text += piece
            row = None if params.logprobs is None else [_logprobs(token, params.logprobs)]
            rows += row or ()
            finished = None
            if step == min(params.max_tokens or 5, 5):
                finished = RequestOutput(
                    prompt=prompt,
                    prompt_token_ids=tuple(tokens),
                    text=text,
                    token_ids=tuple(output),
                    finish_reason="length",
                    seed=params.seed or 11,
                    metrics=METRICS,
                    index=index,
                    logprobs=None if params.logprobs is None else rows,
                    prompt_logprobs=None if params.prompt_logprobs is None else [None, _logprobs(3, 1)],
                )
            yield Chunk(piece, (token,), ("own",), ((piece, "own"),), finished, index, row)


def _logprobs(token, count):
    """The token that stands there is the second likeliest."""
    likely = {
        900 + rank: Logprob(-float(rank), rank, f"<{rank}>") for rank in range(1, count + 1) if rank != 2
    }
    return {token: Logprob(-2.0, 2, f" {token}"), **likely}
