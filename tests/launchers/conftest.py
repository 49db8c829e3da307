import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import uuid
from pathlib import Path

import psutil
import pytest

from amusd.devices import DeviceSpec, usable_cores
from amusd.launchers.base import WorkerSpec

ROOT = Path(__file__).parents[2]
STUB = "tests.launchers.stub:run_worker"
MARK = "AMUSD_TEST_MARK"


@pytest.fixture(scope="session", autouse=True)
def stub_importable_by_workers():
    """Workers find `tests.launchers.stub` as this process does not: by the environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(":"))
        yield


@pytest.fixture(scope="session")
def spec():
    """Make a stub's spec: the target on the first core, the draft and everything else on the last."""

    def make(role="target", **options):
        cores = usable_cores()
        device = DeviceSpec("cpu", (cores[0] if role == "target" else cores[-1],))
        return WorkerSpec(role, 0, device, (cores[-1],), {"entry": STUB, **options})

    return make


@pytest.fixture(scope="session")
def ask():
    """Connect to a stub and return what it says about its process; None if nobody answers."""

    def connect(address):
        host, port = address.rsplit(":", 1)
        try:
            with socket.create_connection((host, int(port)), timeout=20) as connection:
                return json.loads(connection.makefile().read())
        except (OSError, ValueError):
            return None

    return connect


class Driver:
    """A script of its own, `driver.py`, that starts stub workers; and every process that comes from it."""

    def __init__(self, *arguments, **environment):
        self._mark = uuid.uuid4().hex
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("driver.py")), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment, MARK: self._mark},
            start_new_session=True,
        )

    def pids(self):
        """Wait for the workers' process ids by role."""
        line = self.process.stdout.readline()
        assert line, self.process.stderr.read()
        return json.loads(line)

    def descendants(self):
        """All living processes that came from the driver, orphans included, but not the driver itself."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                mine = process.environ().get(MARK) == self._mark and process.pid != self.process.pid
                if mine and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def close(self):
        for process in [self.process, *self.descendants()]:
            with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        self.process.communicate()


@pytest.fixture
def driver():
    """Start drivers; end them, and whatever they left, after the test."""
    drivers = []

    def start(*arguments, **environment):
        drivers.append(Driver(*arguments, **environment))
        return drivers[-1]

    yield start
    for it in drivers:
        it.close()
