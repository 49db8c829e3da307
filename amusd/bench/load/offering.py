"""Offers requests to a server, when they are due or as others end, and notes when each gets its tokens."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, cycle
from typing import Final

from amusd.bench.load.jobs import Job
from amusd.client import AsyncClient
from amusd.errors import WorkerError
from amusd.outputs import RequestMetrics

FREE_SECONDS_MAX: Final = 30.0
_POLL_SECONDS: Final = 0.1

TokenIds = tuple[int, ...]


@dataclass(slots=True)
class Answer:
    """What came for one request so far; times are seconds after the first arrival."""

    arrival: float
    first: float | None = None
    first_tokens: int = 0
    finished: float | None = None
    token_ids: list[int] = field(default_factory=list)
    metrics: RequestMetrics | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """A closed loop.

    Args:
        tokens: that came in the window.
        seconds: of the window.
        answers: token ids so far of every request that was begun, with the index of its job; of transformers
            none.
    """

    tokens: int
    seconds: float
    answers: tuple[tuple[int, TokenIds], ...] = ()


async def is_exact(address: str) -> bool:
    """Whether the target's self-check says that its passes agree bit for bit."""
    async with AsyncClient(address) as client:
        return bool((await client.info())["workers"]["target"].get("exact", True))


async def decode_in_turn(address: str, prompts: Sequence[TokenIds], jobs: Sequence[Job]) -> list[TokenIds]:
    """The answers of a server that has one request at a time."""
    async with AsyncClient(address, retries=False, concurrency=1) as client:
        outputs = await client.generate(
            [list(prompts[job.prompt]) for job in jobs], [job.params for job in jobs]
        )
    return [output.token_ids for output in outputs]


async def offer(
    address: str,
    prompts: Sequence[TokenIds],
    jobs: Sequence[Job],
    arrivals: Sequence[float],
    seconds_max: float,
) -> tuple[list[Answer], float]:
    """Offer each job when it is due, whether or not the server keeps up.

    Args:
        prompts: token ids, by `Job.prompt`.
        arrivals: seconds after the first, one for each job.
        seconds_max: after so many seconds what is not finished is aborted.

    Returns:
        The answers, and how many seconds the run took.

    Raises:
        AmusdError: the server refused a request or failed.
    """
    answers = [Answer(arrival) for arrival in arrivals]
    async with AsyncClient(address, retries=False) as client:
        await client.info()  # connected before the first arrival
        started = time.perf_counter()
        tasks = [
            asyncio.create_task(_ask(client, prompts[job.prompt], job, answer, started))
            for job, answer in zip(jobs, answers, strict=True)
        ]
        done, late = await asyncio.wait(tasks, timeout=seconds_max, return_when=asyncio.FIRST_EXCEPTION)
        seconds = time.perf_counter() - started
        failed = [task for task in done if task.exception() is not None]
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        if failed:
            failed[0].result()
        if late:
            await _wait_until_free(client)
            return answers, seconds
    return answers, max(answer.finished or 0.0 for answer in answers)


async def hold(
    address: str,
    prompts: Sequence[TokenIds],
    jobs: Sequence[tuple[int, Job]],
    live: int,
    seconds: float,
    seconds_max: float,
) -> Held:
    """Keep so many requests live, and count tokens once every one of the first is finished.

    From then on as many are begun as end. Earlier the loop would still be filling, and whoever decodes the
    first ones faster would have less left to count.

    Args:
        prompts: token ids, by `Job.prompt`.
        jobs: more than `live`, in the order of sending, each with its index; those after the first `live`
            are sent again and again.
        seconds: of counting.
        seconds_max: in so many the first have to be finished.

    Raises:
        AmusdError: the server refused a request, failed, or took longer.
    """
    waiting = chain(jobs, cycle(jobs[live:]))
    answers: list[tuple[int, list[int]]] = []
    times: list[tuple[float, int]] = []
    unfinished, filled = live, asyncio.Event()

    async def place(client: AsyncClient) -> None:
        nonlocal unfinished
        is_first = True
        for index, job in waiting:
            written: list[int] = []
            answers.append((index, written))
            async for chunk in client.stream(list(prompts[job.prompt]), job.params):
                written += chunk.token_ids
                times.append((time.perf_counter(), len(chunk.token_ids)))
            if is_first:
                is_first, unfinished = False, unfinished - 1
                if not unfinished:
                    filled.set()

    async with AsyncClient(address, retries=False) as client:
        tasks = [asyncio.create_task(place(client)) for _ in range(live)]
        begun = asyncio.create_task(filled.wait())
        try:
            done, _ = await asyncio.wait(
                [begun, *tasks], timeout=seconds_max, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                raise WorkerError(f"{unfinished} of the first {live} requests took over {seconds_max:g} s")
            started = time.perf_counter()
            if not done - {begun}:
                done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            ended = time.perf_counter()
        finally:
            for task in (begun, *tasks):
                task.cancel()
            await asyncio.gather(begun, *tasks, return_exceptions=True)
        for task in done - {begun}:
            task.result()  # a place ends only by an error
        await _wait_until_free(client)
    tokens = sum(count for at, count in times if started < at <= ended)
    return Held(tokens, ended - started, tuple((index, tuple(ids)) for index, ids in answers))


async def _ask(client: AsyncClient, prompt: TokenIds, job: Job, answer: Answer, started: float) -> None:
    await asyncio.sleep(started + answer.arrival - time.perf_counter())
    async for chunk in client.stream(list(prompt), job.params):
        now = time.perf_counter() - started
        if chunk.token_ids and answer.first is None:
            answer.first, answer.first_tokens = now, len(chunk.token_ids)
        answer.token_ids += chunk.token_ids
        if chunk.finished is not None:
            answer.finished, answer.metrics = now, chunk.finished.metrics


async def _wait_until_free(client: AsyncClient) -> None:
    """Return when nothing of an earlier run is decoded or waits."""
    until = time.monotonic() + FREE_SECONDS_MAX
    while True:
        info = await client.info()
        held = info["running"] + info["waiting"]
        if not held:
            return
        if time.monotonic() > until:
            raise WorkerError(f"the server still holds {held} requests that were aborted; see its log")
        await asyncio.sleep(_POLL_SECONDS)
