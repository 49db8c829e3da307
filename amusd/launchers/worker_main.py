"""The process that the local launcher starts: `python -m amusd.launchers.worker_main ROLE --spec JSON`.

It reports once when it serves, or why it cannot, and ends with whoever started it.
"""

import argparse
import ctypes
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from amusd.launchers.report import Report, format_report
from amusd.launchers.shell import start_worker

STOP_SECONDS_MAX = 2.0
_PR_SET_PDEATHSIG = 1  # <sys/prctl.h>


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one worker until it is told to stop; return the exit code.

    Told means: SIGTERM; or the launcher closed its end of the report socket or died; or, for a worker
    started by hand, Ctrl-C.
    """
    options = _parser().parse_args(arguments)
    spec = {**options.spec, "role": options.role}
    if options.report_fd is None:
        return serve_by_hand(spec, lambda report: _send(report, None))
    loaded, stop = threading.Event(), threading.Event()
    on_stop = _on_signals(loaded, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the launcher's to handle
    # Not inherited by processes that the worker starts: they would keep the socket open after its death.
    os.set_inheritable(options.report_fd, False)
    _die_with_parent()
    with socket.socket(fileno=options.report_fd) as launcher:
        threading.Thread(target=_watch, args=(launcher, on_stop), name="amusd-watch", daemon=True).start()
        return _serve(spec, lambda report: _send(report, launcher), loaded, stop)


def serve_by_hand(spec: dict[str, Any], announce: Callable[[Report], None]) -> int:
    """Run one worker that nobody watches until SIGTERM or Ctrl-C; return the exit code.

    Args:
        spec: what `WorkerSpec.payload` returns.
        announce: called once, when the worker serves or cannot.
    """
    loaded, stop = threading.Event(), threading.Event()
    _on_signals(loaded, stop)
    return _serve(spec, announce, loaded, stop)


def _on_signals(loaded: threading.Event, stop: threading.Event) -> Callable[..., None]:
    def on_stop(*_: object) -> None:
        if not loaded.is_set():
            os._exit(0)  # a model that is being loaded cannot be asked to stop, and need not be
        stop.set()

    signal.signal(signal.SIGTERM, on_stop)
    signal.signal(signal.SIGINT, on_stop)
    return on_stop


def _serve(
    spec: dict[str, Any],
    announce: Callable[[Report], None],
    loaded: threading.Event,
    stop: threading.Event,
) -> int:
    worker, report = start_worker(spec)
    loaded.set()
    announce(report)
    if worker is None:
        return 1
    stop.wait()
    # A server or a model that will not end must not keep the process alive.
    _exit_after(STOP_SECONDS_MAX)
    worker.stop()
    return 0


def _send(report: Report, launcher: socket.socket | None) -> None:
    if launcher is None:
        sys.stdout.write(format_report(report))
        sys.stdout.flush()
        return
    try:
        launcher.sendall(format_report(report).encode())
    except OSError:
        os._exit(1)  # the launcher is gone, and with it everybody who knows of this worker


def _watch(launcher: socket.socket, on_stop: Callable[[], None]) -> None:
    """Stop the worker when the launcher goes away."""
    with suppress(OSError):
        while launcher.recv(4096):
            pass
    on_stop()


def _exit_after(seconds: float) -> None:
    timer = threading.Timer(seconds, os._exit, (0,))
    timer.daemon = True
    timer.start()


def _die_with_parent() -> None:
    """Ask the kernel to kill this process with its parent: the watching thread cannot while stopped."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="worker_main", description="Run one worker process.")
    parser.add_argument("role", choices=("target", "draft"))
    parser.add_argument(
        "--spec",
        required=True,
        type=_spec,
        metavar="JSON",
        help='{"index": 0, "device": "cpu:0", "io_cores": [1], "options": {...}}',
    )
    parser.add_argument(
        "--report-fd",
        type=int,
        metavar="N",
        help="a connected socket: the report is written to it, and its end is the worker's end "
        "(default: report to standard output)",
    )
    return parser


def _spec(text: str) -> dict[str, Any]:
    try:
        spec = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}") from None
    if not isinstance(spec, dict) or not isinstance(spec.get("device"), str):
        raise argparse.ArgumentTypeError('an object with at least a "device" is needed')
    return {"index": 0, "io_cores": [], "options": {}, **spec}


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # taking torch and transformers apart costs Python more than a second
