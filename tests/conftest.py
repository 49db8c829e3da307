"""What every test runs under."""

import os
import signal
import time

import pytest
from hypothesis import settings

# Set before torch or Ray is imported: one thread a process, no hub, no cluster but the tests' own.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ.pop("RAY_ADDRESS", None)
os.environ["AMUSD_COST_FILES"] = "off"  # no test learns from another, and none writes to the user's folder

# A shell's background jobs ignore ctrl-c, and so would the programs that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Times vary on a shared machine, so they are no reason to fail; a failure prints how to replay it.
settings.register_profile("amusd", deadline=None, print_blob=True)
settings.load_profile("amusd")


@pytest.fixture(scope="session")
def eventually():
    """Wait for a condition and return its value; fail when it does not come true."""

    def wait(condition, seconds=20.0):
        deadline = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < deadline, f"not true within {seconds} seconds"
            time.sleep(0.01)
        return value

    return wait
