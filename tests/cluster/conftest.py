"""A Ray cluster of the tests' own: real daemons on this machine, ended by their processes, never by name."""

import contextlib
import os
import socket
import sys
from pathlib import Path

import psutil
import pytest
import ray
from ray.cluster_utils import Cluster

ROOT = Path(__file__).parents[2]
CORES = sorted(os.sched_getaffinity(0))
NODE = {"num_cpus": 2, "object_store_memory": 80 * 2**20}


def free_port():
    """One that nobody listens on: Ray's own, 8265, may be taken by a cluster of the user's."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.fixture(scope="package")
def cluster():
    """A head node that takes jobs. Whatever its daemons, and those of nodes that are added, started is gone
    afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        # A job's `python` is this one, and finds the package by its working directory alone.
        patch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
        patch.delenv("PYTHONPATH", raising=False)
        patch.setenv("RAY_worker_niceness", "0")  # its 15 would put workers behind anything else here
        before = set(psutil.Process().children(recursive=True))
        head = NODE | {"include_dashboard": True, "dashboard_port": free_port()}
        started = Cluster()
        try:
            started.add_node(**head)  # here, for one that fails has daemons too
            yield started
        finally:
            if ray.is_initialized():
                ray.shutdown()
            mine = set(psutil.Process().children(recursive=True)) - before
            started.shutdown()
            _, alive = psutil.wait_procs(mine, timeout=10)
            for process in alive:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(alive, timeout=10)
