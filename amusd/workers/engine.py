"""The thread that owns a model and one endpoint of the core.

Whatever happens outside (frames, orders, lost streams) reaches an engine as an event in its inbox,
and nothing else touches its state; so the core needs no lock, and a forward never blocks the event
loop of the worker's gRPC server.
"""

import asyncio
import os
import queue
import sys
import threading
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from amusd.devices import pin_thread

E = TypeVar("E")
T = TypeVar("T")

INBOX_EVENTS_MAX = 1024
INBOX_RETRY_SECONDS = 0.002
CRASH_EXIT_CODE = 70


@dataclass(frozen=True, slots=True)
class Costs:
    """What an engine has learned of its work so far.

    Attributes:
        seconds: of a forward, by its shape.
        price: the least reach of a node that pays for its row in a pass; None of an engine without passes.
        waits: seconds until a drafted node came, links included, by what it was awaited after.
    """

    seconds: Mapping[str, float]
    price: float | None = None
    waits: Mapping[str, float] = field(default_factory=dict)


class Stop:
    """The event that ends an engine."""


class Asked:
    """The event that has an engine answer a question about its state."""

    def __init__(self, question: Callable[[], Any]) -> None:
        self.question = question
        self.answer: Future[Any] = Future()


class Engine(ABC, threading.Thread, Generic[E]):
    """A thread with an inbox; a subclass loads its model and decides what to do next.

    Args:
        cores: where the thread, and every thread that torch starts from it, runs; empty leaves it alone.
    """

    def __init__(self, name: str, cores: tuple[int, ...]) -> None:
        super().__init__(name=name, daemon=True)
        self._cores = cores
        self._inbox: queue.Queue[E | Stop | Asked] = queue.Queue(INBOX_EVENTS_MAX)
        self.loaded: Future[None] = Future()
        self.stopping = False

    # -- from the event loop -------------------------------------------------------------------

    async def post(self, event: E | Stop | Asked) -> None:
        """Hand over an event; while the inbox is full the caller waits, and with it its stream."""
        while True:
            try:
                return self._inbox.put_nowait(event)
            except queue.Full:
                await asyncio.sleep(INBOX_RETRY_SECONDS)

    def wake(self, event: E | Stop | Asked) -> None:
        """Hand over an event that may be lost when the inbox is full, because a later one says the same."""
        try:
            self._inbox.put_nowait(event)
        except queue.Full:
            return

    async def ask(self, question: Callable[[], T]) -> T:
        """What the engine's own thread answers, when it comes to it."""
        asked = Asked(question)
        await self.post(asked)
        answer: T = await asyncio.wrap_future(asked.answer)
        return answer

    # -- on the engine's own thread ------------------------------------------------------------

    def run(self) -> None:
        """Load, then work until stopped. A crash ends the process: the launcher starts a fresh one."""
        try:
            if self._cores:
                pin_thread(self._cores)
            self.load()
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits for the model
            self.loaded.set_exception(error)
            return
        self.loaded.set_result(None)
        try:
            while not self.stopping:
                self._receive(self.wait_seconds())
                if not self.stopping:
                    self.work()
            self.finish()
        except Exception:  # noqa: BLE001 - no request may hang on a thread that is gone
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(CRASH_EXIT_CODE)

    def _receive(self, wait_seconds: float | None) -> None:
        """Take what waits, bounded, so that no sender keeps the engine from its work.

        Args:
            wait_seconds: how long to wait for the first event; None: as long as it takes.
        """
        try:
            event = self._inbox.get_nowait() if wait_seconds == 0 else self._inbox.get(timeout=wait_seconds)
            for _ in range(INBOX_EVENTS_MAX):
                if isinstance(event, Stop):
                    self.stopping = True
                elif isinstance(event, Asked):
                    if event.answer.set_running_or_notify_cancel():  # whoever asked may have left
                        event.answer.set_result(event.question())
                else:
                    self.on_event(event)
                event = self._inbox.get_nowait()
        except queue.Empty:
            return

    @staticmethod
    def now() -> float:
        """Seconds on a monotonic clock."""
        return time.monotonic()

    @abstractmethod
    def load(self) -> None:
        """Load the model; called once, first."""

    def finish(self) -> None:
        """The last thing that is called when the engine was told to stop."""

    @abstractmethod
    def wait_seconds(self) -> float | None:
        """How long to wait for the next event before working: None for ever, 0 not at all."""

    @abstractmethod
    def occupancy(self) -> dict[str, int]:
        """What live requests hold here; every count is 0 when there are none."""

    def costs(self) -> Costs:
        """What forwards take as things are; nothing where none were measured."""
        return Costs({})

    @abstractmethod
    def on_event(self, event: E) -> None:
        """Change the state."""

    @abstractmethod
    def work(self) -> None:
        """Do one step, if there is one to do."""
