"""Requests are sent when they are due, not when the server is ready for them. The server is made up."""

import asyncio

import pytest

from amusd.bench.load import offering
from amusd.bench.load.jobs import Job
from amusd.errors import BusyError, WorkerError
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


class LoopClient(FakeClient):
    """Writes three tokens a request, one every 5 ms; the request of seed `busy` is refused."""

    async def stream(self, prompt, params):
        self.sent.append(params.seed)
        type(self).most = max(self.most, (live := self.live + 1))
        type(self).live = live
        if params.seed == self.busy:
            raise BusyError("no room")
        for token in (7, 8, 9):
            await asyncio.sleep(0 if params.seed == self.stuck else 0.005)
            if params.seed == self.stuck:
                await asyncio.Event().wait()
            yield Chunk("a", (token,), (False,), ())
        type(self).live -= 1


def hold(monkeypatch, live=2, seconds=0.2, seconds_max=30.0, **settings):
    kind = type("Client", (LoopClient,), {"live": 0, "most": 0, **settings})
    monkeypatch.setattr(offering, "AsyncClient", kind)
    jobs = list(enumerate(JOBS))
    return asyncio.run(offering.hold("somewhere", PROMPTS, jobs, live, seconds, seconds_max)), kind


def test_a_closed_loop_sends_the_next_request_as_one_ends_and_counts_tokens_in_its_window(monkeypatch):
    held, kind = hold(monkeypatch)
    assert kind.most == 2
    order = [index for index, _ in held.answers]
    assert order[:5] == [0, 1, 2, 2, 2], "those after the first two again and again"
    assert all(ids == (7, 8, 9)[: len(ids)] for _, ids in held.answers)
    assert held.seconds >= 0.2
    assert 0 < held.tokens <= sum(len(ids) for _, ids in held.answers[2:]) + 1, (
        "but the last token of the first two at most"
    )


def test_a_closed_loop_that_is_never_filled_is_no_measurement(monkeypatch):
    with pytest.raises(WorkerError, match=r"^1 of the first 2 requests took over 0.05 s$"):
        hold(monkeypatch, seconds_max=0.05, stuck=2)


@pytest.mark.parametrize("busy", [1, 3], ids=["at once", "while counting"])
def test_a_request_that_is_refused_ends_a_closed_loop(monkeypatch, busy):
    with pytest.raises(BusyError):
        hold(monkeypatch, busy=busy)
