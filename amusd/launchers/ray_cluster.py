"""The Ray instance that workers run on: one that exists and is left as it was, or a small one of our own."""

import atexit
import ctypes
import logging
import os
import re
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import ray

from amusd.devices import available, pin_threads, thread_ids
from amusd.errors import InputError, WorkerError

CPUS_MIN = 2
OBJECT_STORE_BYTES = 80 * 2**20  # Ray's minimum is 75 MiB; nothing of ours goes through the store
CONNECT_SECONDS_MAX = 5.0
STOP_SECONDS_MAX = 5.0
SIGACTION_BYTES_MAX = 512  # a `struct sigaction` has 152 with glibc on x86-64
_ADDRESS = re.compile(r"(?:\w+://)?(?:\[([\da-fA-F:]+)\]|([^\s/:\[\]]+)):(\d{1,5})")
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
        self._threads: set[int] = set()

    @property
    def is_ours(self) -> bool:
        """Whether `open` started the cluster, so that `close` ends it."""
        return self._folder is not None

    @property
    def is_foreign(self) -> bool:
        """Whether `open` joins a cluster that somebody else started; known before it does."""
        return not self.is_ours and (ray.is_initialized() or self._address != "local")

    def open(self, cpus: int) -> None:
        """Join the cluster, or start one with room for `cpus` CPUs and all GPUs.

        Raises:
            InputError: no cluster answers at the address.
            WorkerError: a cluster of our own does not start.
        """
        if ray.is_initialized():
            return
        self._connected = True
        # Ray's advice about clusters is not for the users of this one.
        logs: dict[str, Any] = {"logging_level": logging.INFO if self._debug else logging.ERROR}
        logs["log_to_driver"] = self._debug
        before = thread_ids()
        # Ray's own handler of SIGTERM would abort this process, with its workers still running.
        with _signal_kept(signal.SIGTERM):
            if self._address == "local":
                self._start(cpus, logs)
            else:
                self._join(logs)
        self._threads = thread_ids() - before

    def _start(self, cpus: int, logs: dict[str, Any]) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="amusd-ray-", dir=_SOCKET_FOLDER))
        try:
            # Ray would run its workers at nice 15, behind anything else on the machine.
            with _environment("RAY_USAGE_STATS_ENABLED", "0"), _environment("RAY_worker_niceness", "0"):
                ray.init(
                    address="local",
                    num_cpus=max(CPUS_MIN, cpus),
                    num_gpus=available().gpus,
                    object_store_memory=OBJECT_STORE_BYTES,
                    include_dashboard=False,
                    _temp_dir=str(self._folder),
                    **logs,
                )
        except Exception as error:
            raise WorkerError(
                f"Ray did not start on this machine ({_one_line(error)}); it may be overloaded: "
                "try again, or use the local launcher"
            ) from error

    def _join(self, logs: dict[str, Any]) -> None:
        try:
            if self._address != "auto":
                _check_reachable(*_host_and_port(self._address))
            ray.init(address=self._address, **logs)
        except InputError:
            raise
        except (OSError, RuntimeError, ValueError) as error:
            if "AuthenticationError" in str(error.__cause__ or error.__context__):
                remedy = (
                    "it wants Ray's token: set RAY_AUTH_MODE=token, and keep the token where Ray looks for it"
                )
            else:
                remedy = "run `ray start --head` there, or name none"
            what = f"cannot join this cluster ({_one_line(error)}); {remedy}"
            raise InputError("ray_address", self._address, what) from error

    def pin(self, cores: Sequence[int]) -> None:
        """Keep Ray's daemons and its threads in this process on these cores; no cores mean all.

        Only now, and not before they started: Ray gives its node 30 seconds to start, and on a busy
        machine one core is not enough for that.
        """
        if not cores:
            return
        pinned: set[int] = set()
        while unpinned := self._threads.union(*map(_threads_of, self._processes())) - pinned:
            pin_threads(unpinned, cores)  # what they started meanwhile comes in the next round
            pinned |= unpinned

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

    def close(self, release: Callable[[], object], pids: Sequence[int] = ()) -> None:
        """Give back what we hold, disconnect; end our own cluster, and see its processes gone.

        The signal that ends this process may have ended Ray's daemons too, and Ray would look for them for a
        minute; so it is asked, and given some seconds.

        Args:
            release: frees what was placed on the cluster.
            pids: processes of our own cluster that are not the daemons' children any more if those have died.
        """
        processes = self._processes()
        answered = not ray.is_initialized() or _within(STOP_SECONDS_MAX, release)
        if not self._connected:
            return
        if self.is_ours:
            for pid in pids:
                with suppress(psutil.NoSuchProcess):
                    process = psutil.Process(pid)
                    if process.name().startswith("ray::"):  # and not another that got its number
                        processes.append(process)
        if not (answered and _within(STOP_SECONDS_MAX, ray.shutdown)):
            atexit.unregister(ray.shutdown)
        logging.getLogger("ray").setLevel(logging.INFO)  # as Ray sets it when imported
        _, alive = psutil.wait_procs(processes, timeout=STOP_SECONDS_MAX if answered else 0)
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


def _within(seconds: float, act: Callable[[], object]) -> bool:
    """Do something that may never return; whether it did in time."""
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()


def _threads_of(process: psutil.Process) -> set[int]:
    try:
        return {thread.id for thread in process.threads()}
    except psutil.Error:
        return set()  # it has ended


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _host_and_port(address: str) -> tuple[str, int]:
    match = _ADDRESS.fullmatch(address)
    if match is None or not 0 < int(match[3]) < 2**16:
        raise InputError("ray_address", address, "give host:port, or auto")
    return match[1] or match[2], int(match[3])


def _check_reachable(host: str, port: int) -> None:
    """Raise OSError unless something listens there: Ray would try for two minutes."""
    socket.create_connection((host, port), CONNECT_SECONDS_MAX).close()


@contextmanager
def _signal_kept(number: int) -> Iterator[None]:
    """Put a signal's handler back afterwards; unlike `signal.signal`, from any thread."""
    libc = ctypes.CDLL(None)
    action = ctypes.create_string_buffer(SIGACTION_BYTES_MAX)
    libc.sigaction(number, None, action)
    try:
        yield
    finally:
        libc.sigaction(number, action, None)


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
