"""The front desk: who is let in, what is running, and who may be sent away.

Both interfaces come through here, so limits, timings, logs and counts are the same for both.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from math import ceil
from types import TracebackType
from typing import Final, Literal, Self

from amusd.coordinator.coordinator import Coordinator
from amusd.errors import AbortedError, AmusdError, BusyError, InputError, UnavailableError
from amusd.outputs import Chunk
from amusd.params import SamplingParams
from amusd.serving.logs import LOGGER, log
from amusd.serving.metrics import ServerMetrics
from amusd.wishes import NO_WISHES, Wishes

IDENTITY_CHARACTERS_MAX: Final = 128
RETRY_SECONDS_MAX: Final = 60
_KEPT: Final = 0.9  # of what outputs took so far, with each one more
Phase = Literal["starting", "ready", "draining"]


@dataclass(frozen=True, slots=True)
class Job:
    """One prompt to decode, `params.n` times."""

    prompt: str | None
    tokens: list[int]
    params: SamplingParams
    wishes: Wishes = NO_WISHES


class FrontDesk:
    """Admits requests to one coordinator.

    Args:
        requests_max: decoded at a time.
        queue_max: let in beside those, to wait.
    """

    def __init__(self, requests_max: int, queue_max: int, metrics: ServerMetrics) -> None:
        self.phase: Phase = "starting"
        self.metrics = metrics
        self._places = requests_max + queue_max
        self._coordinator: Coordinator | None = None
        self._admissions: dict[str, Admission] = {}
        self._output_seconds = 0.0  # that an output is decoded, the later ones counting more
        self._empty = asyncio.Event()
        self._empty.set()

    def open(self, coordinator: Coordinator) -> None:
        """Let requests in from now on."""
        self._coordinator = coordinator
        self.phase = "ready"

    def close(self) -> None:
        """Let nobody in any more; who is in may go on."""
        self.phase = "draining"

    @property
    def coordinator(self) -> Coordinator:
        """What decodes.

        Raises:
            UnavailableError: it is not there yet, no longer wanted, or cannot decode any more.
        """
        if self._coordinator is None or self.phase != "ready":
            raise UnavailableError(f"the server is {self.phase}: try again later, or another one")
        if self._coordinator.failure is not None:
            raise UnavailableError(f"the engine has failed: {self._coordinator.failure}")
        return self._coordinator

    @property
    def inside(self) -> int:
        """Outputs that run or wait."""
        return sum(admission.unfinished for admission in self._admissions.values())

    @property
    def running(self) -> int:
        """Outputs that are being decoded."""
        return 0 if self._coordinator is None else self._coordinator.live_count

    @property
    def waiting(self) -> int:
        """Outputs that wait for a place."""
        return max(0, self.inside - self.running)

    def admit(self, jobs: Sequence[Job], identity: str = "", user: str | None = None) -> "Admission":
        """Let prompts in together, or none of them; enter what is returned to have them decoded.

        Args:
            identity: the client's name for them; empty has one made.
            user: of the client, for the log.

        Raises:
            UnavailableError: nothing is taken now.
            BusyError: there is no room in the queue; says when there may be.
            InputError: a prompt cannot be decoded, there are more than are ever let in, or the identity is in
                use or no plain short text.
        """
        try:
            coordinator = self.coordinator
            for job in jobs:
                coordinator.check(job.tokens, job.params)
            identity = self._check_identity(identity)
            self._check_room(jobs)
        except AmusdError as error:
            self.metrics.on_refused(type(error).__name__)
            raise
        return Admission(self, coordinator, identity, list(jobs), user)

    def abort(self, identity: str) -> bool:
        """End what is decoded under this name; returns whether there was something."""
        admission = self._admissions.get(identity)
        if admission is not None:
            admission.abort()
        return admission is not None

    async def wait_until_empty(self) -> None:
        """Return when nothing runs or waits."""
        await self._empty.wait()

    def enter(self, admission: "Admission") -> None:
        """Called by admissions."""
        self._admissions[admission.identity] = admission
        self._empty.clear()

    def leave(self, admission: "Admission") -> None:
        """Called by admissions."""
        del self._admissions[admission.identity]
        if not self._admissions:
            self._empty.set()

    def on_finished(self, seconds: float) -> None:
        """Called by admissions: an output took so long, without the wait for its place."""
        earlier = self._output_seconds or seconds
        self._output_seconds = _KEPT * earlier + (1.0 - _KEPT) * seconds

    def _check_room(self, jobs: Sequence[Job]) -> None:
        more = sum(job.params.n for job in jobs)
        if more > self._places:
            remedy = f"ask for less at a time: {self._places} outputs can run or wait here, all in all"
            raise InputError("prompt" if len(jobs) > 1 else "n", f"{more} outputs", remedy)
        lacking = self.inside + more - self._places
        if lacking <= 0:
            return
        # Those that run end one by one, on average every so many seconds.
        every_seconds = self._output_seconds / max(1, self.running)
        retry_seconds = max(1, min(ceil(lacking * every_seconds), RETRY_SECONDS_MAX))
        raise BusyError(
            f"{self.running} outputs are decoded and {self.waiting} wait; {more} more would be above the"
            f" {self._places} of max_requests and max_queue: try again in {retry_seconds} s",
            retry_seconds,
        )

    def _check_identity(self, identity: str) -> str:
        if not identity:
            return secrets.token_hex(12)
        if len(identity) > IDENTITY_CHARACTERS_MAX or not (identity.isascii() and identity.isprintable()):
            remedy = f"give at most {IDENTITY_CHARACTERS_MAX} printable ASCII characters"
            raise InputError("request_id", ascii(identity[:IDENTITY_CHARACTERS_MAX]), remedy)
        if identity in self._admissions:
            raise InputError("request_id", identity, "a request of this name is running: choose another")
        return identity


@dataclass(slots=True)
class _Progress:
    """Of one output."""

    last: float | None = None  # when it got its latest tokens, by time.monotonic()
    output_tokens: int = 0


@dataclass(slots=True)
class Admission:
    """Prompts that were let in together; leaving the context ends what is not finished.

    Between `admit` and entering nothing may be awaited: only entering takes the places.
    """

    _desk: FrontDesk
    _coordinator: Coordinator
    identity: str
    jobs: list[Job]
    user: str | None
    unfinished: int = 0
    _events: asyncio.Queue[tuple[int, Chunk] | Exception] = field(default_factory=asyncio.Queue)
    _pumps: list[asyncio.Task[None]] = field(default_factory=list)
    _arrived: float = field(default_factory=time.monotonic)
    _outcome: str = "aborted"

    async def __aenter__(self) -> Self:
        self.unfinished = sum(job.params.n for job in self.jobs)
        self._desk.enter(self)
        self._pumps = [asyncio.create_task(self._pump(index)) for index in range(len(self.jobs))]
        for job in self.jobs:
            self._desk.metrics.on_admitted(len(job.tokens))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        self._desk.leave(self)
        if self.unfinished:
            self._desk.metrics.on_aborted()
            log("request ended early", id=self.identity, outcome=self._outcome, user=self.user)

    async def events(self) -> AsyncIterator[tuple[int, Chunk]]:
        """Chunks as they come, each with the index of its prompt, until every output is finished.

        Raises:
            AmusdError: one cannot be finished.
        """
        while self.unfinished or not self._events.empty():
            event = await self._events.get()
            if isinstance(event, Exception):
                self._outcome = str(event)
                raise event
            yield event

    def abort(self) -> None:
        """End it; whoever reads the events gets an AbortedError, unless all of it is there already."""
        for pump in self._pumps:
            pump.cancel()
        if self.unfinished:
            self._events.put_nowait(AbortedError(f"request {self.identity} was aborted"))

    async def _pump(self, index: int) -> None:
        """Decode one prompt."""
        job = self.jobs[index]
        progress = [_Progress() for _ in range(job.params.n)]
        try:
            source = self._coordinator.stream(job.prompt, job.tokens, job.params, job.wishes)
            async with aclosing(source) as chunks:
                async for chunk in chunks:
                    self._observe(index, chunk, progress[chunk.index])
                    self._events.put_nowait((index, chunk))
        except AmusdError as error:
            self._events.put_nowait(error)
        except Exception as error:  # noqa: BLE001 - raised where the events are read
            LOGGER.exception("a request failed on a defect", extra={"fields": {"id": self.identity}})
            self._events.put_nowait(error)

    def _observe(self, index: int, chunk: Chunk, progress: _Progress) -> None:
        metrics, now, count = self._desk.metrics, time.monotonic(), len(chunk.token_ids)
        if count:
            if progress.last is None:
                metrics.on_first_token(now - self._arrived)
            metrics.on_tokens(count, None if progress.last is None else (now - progress.last) / count)
            progress.last = now
            progress.output_tokens += count
        output = chunk.finished
        if output is None:
            return
        self.unfinished -= 1
        seconds = now - self._arrived
        metrics.on_finished(output.finish_reason, seconds, output.metrics)
        self._desk.on_finished(max(0.0, seconds - output.metrics.queue_seconds))
        log(
            "request finished",
            id=self.identity,
            prompt=index if len(self.jobs) > 1 else None,
            output=output.index if self.jobs[index].params.n > 1 else None,
            reason=output.finish_reason,
            prompt_tokens=len(output.prompt_token_ids),
            output_tokens=len(output.token_ids),
            seconds=seconds,
            queue_seconds=output.metrics.queue_seconds,
            **self.jobs[index].wishes.to_dict(),
            first_token_seconds=output.metrics.first_token_seconds,
            acceptance_rate=output.metrics.acceptance_rate,
            mean_acceptance_length=output.metrics.mean_acceptance_length,
            user=self.user,
            notes="; ".join(output.notes) or None,
        )
