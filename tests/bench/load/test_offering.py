"""Requests are sent when they are due, not when the server is ready for them. The server is made up."""

import asyncio

import pytest

from amusd.bench.load import offering
from amusd.bench.load.jobs import Job
from amusd.errors import BusyError
from amusd.outputs import Chunk

PROMPTS = [(1,), (2,)]
JOBS = [Job(0, 0.0, 1, 3), Job(1, 0.0, 2, 3), Job(0, 0.0, 3, 3)]


class Finished:
    metrics = None


class FakeClient:
    """Answers every request when `asked` have been sent; one of seed `stuck` never ends."""

    asked, stuck, busy = 1, None, None

    def __init__(self, address, retries):
        self.sent, self.left = [], 3
        self.enough = asyncio.Event()
        type(self).last = self

    async def __aenter__(self):
        return self

    async def __aexit__(self, *error):
        pass

    async def info(self):
        self.left -= 1  # asked once before the run; afterwards the first look still finds a request
        return {"running": max(self.left, 0), "waiting": 0}

    async def stream(self, prompt, params):
        self.sent.append(params.seed)
        if len(self.sent) == self.asked:
            self.enough.set()
        if params.seed == self.busy:
            raise BusyError("no room")
        await self.enough.wait()
        yield Chunk("", (), (), ())
        yield Chunk("a", (prompt[0],), (False,), ())
        if params.seed == self.stuck:
            await asyncio.Event().wait()
        yield Chunk("bc", (8, 9), (True, True), (), finished=Finished())


def offer(monkeypatch, seconds_max=30.0, **settings):
    kind = type("Client", (FakeClient,), settings)
    monkeypatch.setattr(offering, "AsyncClient", kind)
    return asyncio.run(offering.offer("somewhere", PROMPTS, JOBS, (0.0, 0.01, 0.02), seconds_max)), kind.last


def test_nobody_waits_for_an_answer_before_sending_the_next(monkeypatch):
    (answers, seconds), client = offer(monkeypatch, asked=3)
    assert client.sent == [1, 2, 3]
    assert [answer.token_ids for answer in answers] == [[1, 8, 9], [2, 8, 9], [1, 8, 9]]
    assert [answer.first_tokens for answer in answers] == [1, 1, 1], "a chunk without tokens is none"
    assert all(answer.first >= 0.02 for answer in answers), "none came before the last was sent"
    assert seconds == max(answer.finished for answer in answers)


def test_what_is_not_finished_in_time_is_aborted_and_the_server_left_free(monkeypatch):
    (answers, seconds), client = offer(monkeypatch, seconds_max=0.2, stuck=2)
    assert [answer.finished is None for answer in answers] == [False, True, False]
    assert answers[1].token_ids == [2]
    assert seconds >= 0.2
    assert client.left == 0, "it looked until nothing was held"


def test_a_request_that_is_refused_ends_the_run(monkeypatch):
    with pytest.raises(BusyError):
        offer(monkeypatch, asked=3, busy=3, stuck=1)
