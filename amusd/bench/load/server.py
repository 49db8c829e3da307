"""A server process on this machine, for whoever loads one."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from amusd.errors import WorkerError

POLL_SECONDS: Final = 0.05
END_SECONDS_MAX: Final = 60.0


@dataclass(frozen=True, slots=True)
class LocalServer:
    """Where it is."""

    pid: int
    http_port: int
    grpc_port: int

    @property
    def address(self) -> str:
        """Of its gRPC side."""
        return f"127.0.0.1:{self.grpc_port}"


@contextmanager
def local_server(arguments: Sequence[str], log: Path) -> Iterator[LocalServer]:
    """Run `amusd serve` with local workers and free ports until the context ends.

    Args:
        log: where what it says goes.

    Raises:
        WorkerError: it ended before it was ready.
    """
    ports = ["--port", "0", "--grpc-port", "0", "--log-format", "json"]
    command = [sys.executable, "-m", "amusd", "serve", "--launcher", "local", *ports, *arguments]
    with log.open("w", encoding="utf-8") as written:
        process = subprocess.Popen(command, stderr=written)
    try:
        yield _wait_until_ready(process, log)
    finally:
        process.terminate()
        try:
            process.wait(timeout=END_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()  # its workers end when they notice
            process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], log: Path) -> LocalServer:
    with log.open(encoding="utf-8") as lines:
        while process.poll() is None:
            line = lines.readline()
            if '"event": "ready"' in line:
                ready = json.loads(line)
                return LocalServer(process.pid, ready["http_port"], ready["grpc_port"])
            if not line:
                time.sleep(POLL_SECONDS)
    raise WorkerError(f"the server ended with code {process.returncode} before it was ready; see {log}")
