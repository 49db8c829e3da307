"""A launcher whose work is done by one thread of its own.

Two reasons. Whatever happens to the caller's thread, Ctrl-C above all, cannot interrupt a start or an end
half-way. And the kernel kills worker processes when the *thread* that started them ends, so that thread
must be one that lives as long as the launcher does.
"""

import atexit
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from amusd.errors import WorkerError
from amusd.launchers.base import START_SECONDS_MAX, Role, WorkerKey, WorkerSpec
from amusd.params import ProcessorsOf


@dataclass(slots=True)
class _Whereabouts:
    address: str | None = None  # kept while the worker is down
    pid: int | None = None


class Board:
    """What is known about the workers, shared by the launcher's thread, which writes, and its callers'."""

    def __init__(self, specs: Sequence[WorkerSpec]) -> None:
        self._changed = threading.Condition()
        self._workers: dict[WorkerKey, _Whereabouts] = {spec.key: _Whereabouts() for spec in specs}
        self._failure: BaseException | None = None

    def post_serving(self, key: WorkerKey, address: str, pid: int) -> None:
        """The worker serves, for the first time or again."""
        with self._changed:
            self._workers[key] = _Whereabouts(address, pid)
            self._changed.notify_all()

    def post_down(self, key: WorkerKey) -> None:
        """The worker has died; it keeps its address until it has another."""
        with self._changed:
            self._workers[key].pid = None

    def post_failure(self, failure: BaseException) -> None:
        """The launcher cannot go on. The first failure is the one that counts."""
        with self._changed:
            self._failure = self._failure or failure
            self._changed.notify_all()

    def is_serving(self) -> bool:
        """Whether every worker has served at least once."""
        with self._changed:
            return all(worker.address is not None for worker in self._workers.values())

    def wait_until_serving(self, seconds_max: float) -> None:
        """Return when every worker has served; raise the failure, if there is one instead."""
        with self._changed:
            self._changed.wait_for(lambda: self._failure is not None or self.is_serving(), seconds_max)
            if self._failure is not None:
                raise self._failure
            late = [f"{role} worker {index}" for (role, index), it in self._workers.items() if not it.address]
        if late:
            raise WorkerError(f"{' and '.join(late)} did not start within {seconds_max:g} seconds")

    def address(self, key: WorkerKey) -> str:
        """See `base.Launcher.address`."""
        with self._changed:
            address = self._workers[key].address
            if address is not None and self._failure is None:
                return address
            raise WorkerError(f"{key[0]} worker {key[1]} is not running") from self._failure

    def pid(self, key: WorkerKey) -> int | None:
        """See `base.Launcher.pid`."""
        with self._changed:
            return self._workers[key].pid


class SupervisedLauncher(ABC):
    """The part of a `base.Launcher` that does not depend on how workers are started.

    Args:
        debug: forward what the workers print to stderr.
        start_seconds_max: how long `start` waits for models to load.
    """

    elsewhere = False
    processors: ProcessorsOf | None = None

    def __init__(self, *, debug: bool = False, start_seconds_max: float = START_SECONDS_MAX) -> None:
        self._debug = debug
        self._start_seconds_max = start_seconds_max
        self._board = Board([])
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, specs: Sequence[WorkerSpec]) -> None:
        """Start all workers and wait until each serves. See `base.Launcher.start`."""
        if self._thread is not None:
            raise WorkerError("this launcher has been started before; create another one")
        self._board = Board(specs)
        self._thread = threading.Thread(target=self._run, args=(specs,), name="amusd-launcher", daemon=True)
        atexit.register(self.close)
        try:
            self._thread.start()
            self._board.wait_until_serving(self._start_seconds_max)
        except BaseException:
            self.close()
            raise

    def address(self, role: Role, index: int) -> str:
        """The worker's latest `host:port`. See `base.Launcher.address`."""
        return self._board.address((role, index))

    def pid(self, role: Role, index: int) -> int | None:
        """The worker's process id; None while it is down."""
        return self._board.pid((role, index))

    def close(self) -> None:
        """Stop all workers. See `base.Launcher.close`.

        The thread does it. If Ctrl-C interrupts the waiting here, it goes on, and so does the waiting
        when the interpreter exits.
        """
        self._closing.set()
        self._wake()
        if self._thread is not None and self._thread.ident is not None:
            self._thread.join()
        else:
            self._end()
        atexit.unregister(self.close)

    def _run(self, specs: Sequence[WorkerSpec]) -> None:
        try:
            self._supervise(specs)
        except BaseException as failure:  # noqa: BLE001 - raised in the caller's thread
            self._board.post_failure(failure)
        finally:
            self._end()

    @abstractmethod
    def _supervise(self, specs: Sequence[WorkerSpec]) -> None:
        """Start the workers and keep them running until `_closing` is set.

        Raises:
            AmusdError: a worker died before all had started.
        """

    @abstractmethod
    def _wake(self) -> None:
        """Make `_supervise` look at `_closing` now. Called from any thread, at any time."""

    @abstractmethod
    def _end(self) -> None:
        """Stop whatever `_supervise` started, however far it came."""
