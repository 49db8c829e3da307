"""The Ray instance that workers run on: one that exists and is left as it was, or a small one of our own."""

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import ray

from amusd.devices import available
from amusd.errors import InputError

CPUS_MIN = 2
OBJECT_STORE_BYTES = 80 * 2**20  # Ray's minimum is 75 MiB; nothing of ours goes through the store
STOP_SECONDS_MAX = 5.0
_SOCKET_FOLDER = "/tmp"  # a long TMPDIR would not leave room for Ray's socket names (107 bytes)


class RayCluster:
    """A connection to Ray, made by `open`.

    Args:
        address: the cluster to join; None joins the one that `RAY_ADDRESS` names, or the one that this
            process already uses, or starts one.
        debug: show what Ray and the actors print.
    """

    def __init__(self, address: str | None, *, debug: bool) -> None:
        self._address = address or os.environ.get("RAY_ADDRESS") or "local"
        self._debug = debug
        self._connected = False
        self._folder: Path | None = None

    @property
    def is_ours(self) -> bool:
        """Whether `open` started the cluster, so that `close` ends it."""
        return self._folder is not None

    def open(self, cpus: int) -> None:
        """Join the cluster, or start one with room for `cpus` CPUs and all GPUs.

        What is started inherits the affinity of the calling thread.

        Raises:
            InputError: no cluster answers at the address.
        """
        if ray.is_initialized():
            return
        self._connected = True
        # Ray's advice about clusters is not for the users of this one.
        logs: dict[str, Any] = {"logging_level": logging.INFO if self._debug else logging.ERROR}
        logs["log_to_driver"] = self._debug
        if self._address == "local":
            self._folder = Path(tempfile.mkdtemp(prefix="amusd-ray-", dir=_SOCKET_FOLDER))
            with _environment("RAY_USAGE_STATS_ENABLED", "0"):
                ray.init(
                    address="local",
                    num_cpus=max(CPUS_MIN, cpus),
                    num_gpus=available().gpus,
                    object_store_memory=OBJECT_STORE_BYTES,
                    include_dashboard=False,
                    _temp_dir=str(self._folder),
                    **logs,
                )
            return
        try:
            ray.init(address=self._address, **logs)
        except (ConnectionError, RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            remedy = f"cannot join it ({reason}); run `ray start --head` there, or name no cluster"
            raise InputError("ray_address", self._address, remedy) from error

    def last_line(self, pid: int | None) -> str | None:
        """The last line on stderr of a process of our own cluster."""
        if self._folder is None:
            return None
        for log in self._folder.glob(f"session_*/logs/worker-*-{pid}.err"):
            lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
            printed = [line.strip() for line in lines if line.strip() and not line.startswith(":")]
            if printed:
                return printed[-1]
        return None

    def close(self) -> None:
        """Disconnect; end our own cluster, and see its processes gone."""
        if not self._connected:
            return
        processes = self._processes()
        ray.shutdown()
        logging.getLogger("ray").setLevel(logging.INFO)  # as Ray sets it when imported
        _, alive = psutil.wait_procs(processes, timeout=STOP_SECONDS_MAX)
        for process in alive:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(alive, timeout=STOP_SECONDS_MAX)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._connected = False

    def _processes(self) -> list[psutil.Process]:
        """Our cluster's daemons, which all name its folder on their command line, and their children."""
        found: list[psutil.Process] = []
        for child in psutil.Process().children() if self._folder else ():
            with suppress(psutil.Error):  # it may be gone already
                if any(str(self._folder) in word for word in child.cmdline()):
                    found += [child, *child.children(recursive=True)]
        return found


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """Set an environment variable, unless it is set, for as long as Ray starts."""
    if name in os.environ:
        yield
        return
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]
