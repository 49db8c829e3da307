"""The inside of a worker process, the same under every launcher: pin, set the environment, load, serve."""

import importlib
import os
import socket
import traceback
from collections.abc import Mapping
from typing import Any, Protocol

from amusd.devices import parse_device, pin_process, pin_thread, thread_environment, usable_cores
from amusd.errors import AmusdError, DeviceError
from amusd.launchers.report import Failed, Ready, Report

DEFAULT_ENTRY = "amusd.workers.entry:run_worker"


class RunningWorker(Protocol):
    """What the entry function returns: a worker that serves until it is stopped."""

    address: str

    def stop(self) -> None:
        """End the server and the model."""


def start_worker(spec: Mapping[str, Any]) -> tuple[RunningWorker | None, Report]:
    """Load and serve what `spec` describes, in this process; block until that is done or has failed.

    The process is pinned to the I/O cores; the worker's engine thread pins itself to the device's.

    Args:
        spec: what `WorkerSpec.payload` returns. `options["entry"]` names a function that takes this
            object and returns a `RunningWorker`; `options["debug"]` shows where an expected error came from.
    """
    try:
        prepare_process(spec)
        worker: RunningWorker = _resolve(spec["options"].get("entry", DEFAULT_ENTRY))(dict(spec))
    except Exception as error:  # noqa: BLE001 - the launcher raises it where somebody can read it
        if spec["options"].get("debug") or not isinstance(error, AmusdError):
            traceback.print_exc()
        return None, Failed.from_exception(error)
    return worker, Ready(worker.address, os.getpid())


def prepare_process(spec: Mapping[str, Any]) -> None:
    """Set the environment and the affinity that torch's thread pools will inherit.

    Raises:
        DeviceError: a core of the device does not exist on this machine.
    """
    device = parse_device(spec["device"])
    os.environ.update(thread_environment(device))
    if device.cores:
        try:
            # Tried here, so that a wrong core is an error that the launcher reports, and undone at once.
            pin_thread(pin_thread(device.cores))
        except DeviceError as error:
            field, remedy = f"{spec['role']}_devices", f"on {_node(spec)}: {error.remedy}"
            raise DeviceError(field, str(device), remedy) from error
    # The I/O cores were counted on the launcher's machine; this one may have fewer.
    here = usable_cores()
    left = tuple(core for core in here if core not in spec.get("avoided_cores", ()))
    pin_process(tuple(core for core in spec["io_cores"] if core in here) or left or here)


def _node(spec: Mapping[str, Any]) -> str:
    """This machine's name, and its address where others know it by one."""
    name, host = socket.gethostname(), spec["options"].get("host", "")
    return name if host in ("", "127.0.0.1") else f"{name} ({host})"


def _resolve(dotted: str) -> Any:
    module, _, name = dotted.partition(":")
    return getattr(importlib.import_module(module), name)
