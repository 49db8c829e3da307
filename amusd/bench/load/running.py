"""Contenders that are running: our server behind gRPC, or transformers in a process of its own."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any, Protocol

from amusd.bench.load.contenders import Contender, server_options
from amusd.bench.load.jobs import Job, staggered
from amusd.bench.load.offering import Answer, Held, TokenIds, hold, offer
from amusd.bench.load.server import LocalServer, local_server
from amusd.bench.load.settings import LoadSettings
from amusd.bench.rivals import RivalProcess

BEGIN_SECONDS_MAX = 300.0
"""Until each of the first requests of a closed loop is finished."""


class Running(Protocol):
    """What requests can be offered to."""

    @property
    def facts(self) -> str:
        """What it says about itself, for the results."""

    def offer(
        self, jobs: Sequence[Job], arrivals: Sequence[float], seconds_max: float
    ) -> tuple[list[Answer], float]:
        """Offer each job when it is due; see `offering.offer`."""

    def hold(self, jobs: Sequence[Job], live: int, seconds: float) -> Held:
        """Keep so many requests live for so long; see `offering.hold`."""


class OurServer:
    """One of ours.

    Args:
        prompts: token ids, by `Job.prompt`.
        runner: of the client's event loop.
    """

    facts = ""

    def __init__(self, server: LocalServer, prompts: Sequence[TokenIds], runner: asyncio.Runner) -> None:
        self.address = server.address
        self._prompts = prompts
        self._runner = runner

    def offer(
        self, jobs: Sequence[Job], arrivals: Sequence[float], seconds_max: float
    ) -> tuple[list[Answer], float]:
        """See `Running.offer`."""
        return self._runner.run(offer(self.address, self._prompts, jobs, arrivals, seconds_max))

    def hold(self, jobs: Sequence[Job], live: int, seconds: float) -> Held:
        """See `Running.hold`."""
        order = staggered(jobs, live)
        return self._runner.run(hold(self.address, self._prompts, order, live, seconds, BEGIN_SECONDS_MAX))


class BatchServer:
    """transformers' continuous batching; its process offers itself what it is sent here.

    Args:
        prompts: token ids, by `Job.prompt`.
    """

    def __init__(self, process: RivalProcess, prompts: Sequence[TokenIds]) -> None:
        self._process = process
        self._prompts = prompts

    @property
    def facts(self) -> str:
        """What the process says about its model and settings."""
        return self._process.facts

    def offer(
        self, jobs: Sequence[Job], arrivals: Sequence[float], seconds_max: float
    ) -> tuple[list[Answer], float]:
        """See `Running.offer`."""
        request = {"jobs": self._plain(jobs), "arrivals": list(arrivals), "seconds_max": seconds_max}
        found = self._process.ask(request)
        answers = [
            Answer(arrival, first=item["first"], first_tokens=1, finished=item["finished"])
            for arrival, item in zip(arrivals, found["answers"], strict=True)
        ]
        for answer, item in zip(answers, found["answers"], strict=True):
            answer.token_ids = item["token_ids"]
        return answers, found["seconds"]

    def hold(self, jobs: Sequence[Job], live: int, seconds: float) -> Held:
        """See `Running.hold`."""
        order = [job for _, job in staggered(jobs, live)]
        found = self._process.ask({"jobs": self._plain(order), "live": live, "seconds": seconds})
        return Held(found["tokens"], found["seconds"])

    def _plain(self, jobs: Sequence[Job]) -> list[dict[str, Any]]:
        return [
            {"prompt": list(self._prompts[job.prompt]), "temperature": job.temperature, "tokens": job.tokens}
            for job in jobs
        ]


def start(
    contender: Contender, settings: LoadSettings, prompts: Sequence[TokenIds], runner: asyncio.Runner
) -> AbstractContextManager[Running]:
    """A contender that runs until the context ends; a server of ours logs to the results' folder."""
    if contender.device is not None:
        return _start_batch(contender, settings, prompts)
    log = settings.out / f"{contender.key.replace(' ', '-')}.log"
    return _start_server(server_options(contender, settings), log, prompts, runner)


@contextmanager
def _start_server(
    options: Sequence[str], log: Path, prompts: Sequence[TokenIds], runner: asyncio.Runner
) -> Iterator[Running]:
    with local_server(options, log) as server:
        yield OurServer(server, prompts, runner)


@contextmanager
def _start_batch(
    contender: Contender, settings: LoadSettings, prompts: Sequence[TokenIds]
) -> Iterator[Running]:
    assert contender.device is not None
    options = {
        "target": settings.target,
        "widen": settings.widen,
        "dtype": settings.dtype,
        "requests": settings.max_requests,
        "length_max": max(map(len, prompts)) + settings.max_tokens,
    }
    with closing(RivalProcess("transformers-batch", contender.device, options)) as process:
        yield BatchServer(process, prompts)
