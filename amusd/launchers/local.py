"""Workers as subprocesses of this process: no cluster, no daemon, easy to debug."""

import selectors
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from amusd.devices import pin_thread
from amusd.errors import AmusdError, WorkerError
from amusd.launchers.base import START_SECONDS_MAX, Backoff, WorkerKey, WorkerSpec
from amusd.launchers.process import WorkerProcess
from amusd.launchers.report import Failed, Ready, Report
from amusd.launchers.supervised import SupervisedLauncher

POLL_SECONDS = 0.5  # a death is announced by a closing socket; polling only backs that up
STOP_SECONDS_MAX = 3.0


class LocalLauncher(SupervisedLauncher):
    """Starts each worker with `python -m amusd.launchers.worker_main` and watches it; never forks.

    See `base.Launcher`.
    """

    def __init__(self, *, debug: bool = False, start_seconds_max: float = START_SECONDS_MAX) -> None:
        super().__init__(debug=debug, start_seconds_max=start_seconds_max)
        self._processes: dict[WorkerKey, WorkerProcess] = {}
        self._backoffs: dict[WorkerKey, Backoff] = {}
        self._restarts: dict[WorkerKey, tuple[float, WorkerSpec]] = {}  # when, by time.monotonic(), and what
        self._selector = selectors.DefaultSelector()
        self._wake_receiver, self._wake_sender = socket.socketpair()
        self._wake_sender.setblocking(False)

    def _supervise(self, specs: Sequence[WorkerSpec]) -> None:
        self._selector.register(self._wake_receiver, selectors.EVENT_READ, lambda: None)
        for spec in specs:
            self._backoffs[spec.key] = Backoff()
            self._start_process(spec)
        while not self._closing.is_set():
            for event, _ in self._selector.select(self._seconds_to_wait()):
                react: Callable[[], None] = event.data
                react()
            for process in list(self._processes.values()):
                if process.is_dead():
                    self._on_death(process)
            for key in [key for key, (when, _) in self._restarts.items() if when <= time.monotonic()]:
                self._start_process(self._restarts.pop(key)[1])

    def _seconds_to_wait(self) -> float:
        now = time.monotonic()
        return max(0.0, min([POLL_SECONDS, *(when - now for when, _ in self._restarts.values())]))

    def _start_process(self, spec: WorkerSpec) -> None:
        if spec.io_cores:
            pin_thread(spec.io_cores)  # the process inherits it
        try:
            process = WorkerProcess(spec, debug=self._debug)
        except OSError as error:
            self._plan_restart(spec, 0.0, WorkerError(f"{spec.name} could not be started: {error}"))
            return
        self._processes[spec.key] = process
        for source, react in ((process.channel, self._on_channel), (process.output_fd, self._on_output)):
            self._selector.register(source, selectors.EVENT_READ, partial(react, process))

    def _on_channel(self, process: WorkerProcess) -> None:
        if self._processes.get(process.spec.key) is not process:
            return  # it was buried by an event earlier in the same batch
        try:
            report = process.read_report()
        except EOFError:
            self._on_death(process)
            return
        except WorkerError as error:
            report = Failed.from_exception(error)
        if isinstance(report, Ready):
            self._board.post_serving(process.spec.key, report.address, report.pid)
        elif report is not None:
            self._on_death(process, report)

    def _on_output(self, process: WorkerProcess) -> None:
        if self._processes.get(process.spec.key) is process and not process.read_output():
            self._selector.unregister(process.output_fd)

    def _on_death(self, process: WorkerProcess, report: Report | None = None) -> None:
        key = process.spec.key
        del self._processes[key]
        error = process.death(report)
        for source in (process.channel, process.output_fd):
            with suppress(KeyError):  # the output may have ended, and been unregistered, before
                self._selector.unregister(source)
        process.destroy()
        self._board.post_down(key)
        self._plan_restart(process.spec, time.monotonic() - process.started_at, error)

    def _plan_restart(self, spec: WorkerSpec, lived_seconds: float, error: AmusdError) -> None:
        """Start the worker again after a pause; before all workers have served, raise `error` instead."""
        if not self._board.is_serving():
            raise error
        delay = self._backoffs[spec.key].delay_seconds(lived_seconds)
        self._restarts[spec.key] = (time.monotonic() + delay, spec)

    def _wake(self) -> None:
        with suppress(OSError):  # closed: there is nothing left to wake
            self._wake_sender.send(b"x")

    def _end(self) -> None:
        for process in self._processes.values():
            process.ask_to_stop()
        deadline = time.monotonic() + STOP_SECONDS_MAX
        for process in self._processes.values():
            process.wait(max(0.0, deadline - time.monotonic()))
            process.destroy()
        self._processes.clear()
        self._selector.close()
        self._wake_receiver.close()
        self._wake_sender.close()
