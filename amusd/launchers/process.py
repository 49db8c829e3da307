"""One worker subprocess as its launcher sees it: start, listen, notice its death, end it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from contextlib import suppress

from amusd.errors import AmusdError, WorkerError
from amusd.launchers.base import WorkerSpec
from amusd.launchers.report import Failed, Report, parse_report

LINES_KEPT = 50
LINE_CHARACTERS_MAX = 2000
REPORT_BYTES_MAX = 65536
EXIT_SECONDS_MAX = 1.0


class WorkerProcess:
    """A worker started with `python -m amusd.launchers.worker_main`.

    The calling thread must outlive the process: the kernel kills the worker when the thread that started
    it ends (see `worker_main`). All methods belong to that thread.

    Args:
        spec: what to start.
        debug: forward what the worker prints to stderr.
    """

    def __init__(self, spec: WorkerSpec, *, debug: bool) -> None:
        self.spec = spec
        self.started_at = time.monotonic()
        self._debug = debug
        self._lines: deque[str] = deque(maxlen=LINES_KEPT)
        self._output_rest = b""
        self._report_rest = b""
        self.channel, theirs = socket.socketpair()
        try:
            self._popen = subprocess.Popen(
                _command(spec, theirs.fileno()),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # the terminal's Ctrl-C reaches the launcher only
            )
        except BaseException:
            self.channel.close()
            raise
        finally:
            theirs.close()
        assert self._popen.stdout is not None
        self.output_fd = self._popen.stdout.fileno()
        os.set_blocking(self.output_fd, False)
        self.channel.setblocking(False)

    def read_report(self) -> Report | None:
        """The worker's report if a whole one has arrived by now.

        Raises:
            EOFError: the worker closed its end, so it is dead or dying.
            WorkerError: what arrived is not a report.
        """
        try:
            data = self.channel.recv(REPORT_BYTES_MAX)
        except BlockingIOError:
            return None
        except ConnectionError:
            raise EOFError from None
        if not data:
            raise EOFError
        line, newline, self._report_rest = (self._report_rest + data).partition(b"\n")
        if newline:
            return parse_report(line.decode(errors="replace"))
        if len(line) > REPORT_BYTES_MAX:
            raise WorkerError(f"{self.spec.name} sent a report of more than {REPORT_BYTES_MAX} bytes")
        self._report_rest = line
        return None

    def read_output(self) -> bool:
        """Keep the last lines that the worker printed; return whether there can be more."""
        while True:
            try:
                data = os.read(self.output_fd, 65536)
            except BlockingIOError:
                return True
            if not data:
                return False
            *lines, rest = (self._output_rest + data).split(b"\n")
            self._output_rest = rest[:LINE_CHARACTERS_MAX]
            for line in lines:
                self._keep(line.decode(errors="replace")[:LINE_CHARACTERS_MAX].rstrip())

    def is_dead(self) -> bool:
        """Whether the process has ended."""
        return self._popen.poll() is not None

    def death(self, report: Report | None = None) -> AmusdError:
        """Say why the process, which has ended or is ending, is dead: in its own words if it had any."""
        self.read_output()
        error: AmusdError
        if isinstance(report, Failed):
            error = report.exception(self.spec.name)
        else:
            last = next((line for line in reversed(self._lines) if line), "it printed nothing")
            died = f"{self.spec.name} died ({self._exit_status()}): {last}"
            error = WorkerError(f"{died}; try again with debug on to see all that it prints")
        for line in self._lines:
            error.add_note(f"[{self.spec.role} {self.spec.index}] {line}")
        return error

    def ask_to_stop(self) -> None:
        """Close our end of the report socket, which the worker takes as the order to end."""
        with suppress(OSError):  # the worker may be gone already
            self.channel.shutdown(socket.SHUT_WR)

    def wait(self, seconds_max: float) -> None:
        """Return when the process has ended, or after `seconds_max`."""
        with suppress(subprocess.TimeoutExpired):
            self._popen.wait(seconds_max)

    def destroy(self) -> None:
        """End the process and whatever it started, now, and free what belongs to it here."""
        if not self.is_dead():
            with suppress(ProcessLookupError):  # it may end on its own in between
                os.killpg(self._popen.pid, signal.SIGKILL)
            self._popen.wait()
        self.channel.close()
        assert self._popen.stdout is not None
        self._popen.stdout.close()

    def _exit_status(self) -> str:
        try:
            code = self._popen.wait(EXIT_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            return "it closed its report socket"
        if code >= 0:
            return f"exit code {code}"
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        return f"{name}, perhaps out of memory" if name == "SIGKILL" else name

    def _keep(self, line: str) -> None:
        self._lines.append(line)
        if self._debug:
            sys.stderr.write(f"[{self.spec.role} {self.spec.index}] {line}\n")


def _command(spec: WorkerSpec, report_fd: int) -> list[str]:
    # -P: a file in the current folder must not shadow a module that the worker imports.
    module = [sys.executable, "-P", "-m", "amusd.launchers.worker_main"]
    return [*module, spec.role, "--spec", json.dumps(spec.payload()), "--report-fd", str(report_fd)]
