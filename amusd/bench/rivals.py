"""Other systems' contenders, each in a pinned process of its own that outlives single runs."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from tempfile import TemporaryFile
from typing import Any

from amusd.bench.contenders import Variant
from amusd.bench.runs import Run, Task
from amusd.devices import DeviceSpec, thread_environment
from amusd.errors import WorkerError

STOP_SECONDS_MAX = 10.0
_LINES_SHOWN = 5


class RivalProcess:
    """A process that answers requests about its models.

    Args:
        system: a key of `rival_main.SYSTEMS`.
        device: whose cores the process is pinned to, with as many threads.
        options: what the system needs to load, in plain JSON values.

    Raises:
        WorkerError: it could not load.
    """

    def __init__(self, system: str, device: DeviceSpec, options: dict[str, Any]) -> None:
        self.name = f"{system} on {device}"
        self._log = TemporaryFile(mode="w+", encoding="utf-8", errors="replace")  # noqa: SIM115 - close() does
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "amusd.bench.rival_main"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=os.environ | thread_environment(device),
            start_new_session=True,  # Ctrl-C is for whoever started the benchmark
        )
        try:
            ready = self.ask({"system": system, "device": str(device), **options})
            self.facts: str = ready["facts"]
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send one request and wait for its answer.

        Raises:
            WorkerError: the process failed or is gone.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        with suppress(BrokenPipeError):  # it is gone; its last answer or its log says why
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"error": self._last_words()}
        if "error" in answer:
            raise WorkerError(f"{self.name} failed: {answer['error']}")
        return answer

    def _last_words(self) -> str:
        self._log.seek(0)
        lines = [line for line in self._log.read().splitlines() if line.strip()]
        return " | ".join(lines[-_LINES_SHOWN:]) or "it ended without a word"

    def close(self) -> None:
        """End the process; safe to call again."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._log.close()


class RivalSession:
    """A system with its models on one device; every draft and number of drafted tokens runs in it."""

    def __init__(self, system: str, device: DeviceSpec, options: dict[str, Any]) -> None:
        self._process = RivalProcess(system, device, options)

    def run(self, variant: Variant, task: Task) -> Run:
        """Decode one prompt."""
        request = {"draft": variant.draft, "k": variant.k, "threshold": variant.threshold, **asdict(task)}
        answer = self._process.ask(request)
        return Run(**{**answer, "token_ids": tuple(answer["token_ids"])})

    @property
    def facts(self) -> str:
        """What the process says about its target."""
        return self._process.facts

    def pids(self) -> Sequence[int]:
        """The one process."""
        return [self._process.pid]

    def close(self) -> None:
        """End it."""
        self._process.close()
