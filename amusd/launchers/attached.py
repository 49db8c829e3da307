"""Workers that somebody else started, by hand or as services: found by their addresses, and left alone."""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

import grpc

from amusd.errors import InputError, WorkerError
from amusd.launchers.base import Role, WorkerSpec
from amusd.params import ProcessorsOf
from amusd.rpc.v1 import common_pb2, common_pb2_grpc
from amusd.transport.options import CLIENT_OPTIONS

WAIT_SECONDS_MAX = 1800.0  # as long as a launcher gives a large model to load
ASK_SECONDS = 5.0
POLL_SECONDS = 0.2


class AttachedLauncher:
    """Knows where the workers are; see `base.Launcher`.

    It starts none and ends none. Whoever started a worker starts it again, at the same address, if it dies.

    Args:
        target: address of the target worker, host:port.
        drafts: of each draft worker.
        wait_seconds_max: how long `start` waits for workers that do not answer yet.
    """

    elsewhere = True
    processors: ProcessorsOf | None = None

    def __init__(
        self, target: str, drafts: Sequence[str], *, wait_seconds_max: float = WAIT_SECONDS_MAX
    ) -> None:
        self._addresses: dict[Role, tuple[str, ...]] = {"target": (target,), "draft": tuple(drafts)}
        self._pids: dict[tuple[Role, int], int] = {}
        self._wait_seconds_max = wait_seconds_max

    def start(self, specs: Sequence[WorkerSpec]) -> None:
        """Wait until each worker answers, and compare how it was started with what is wanted of it.

        Raises:
            InputError: one is of another role, or was started with other options.
            WorkerError: one does not answer.
        """
        drafts, there = sum(spec.role == "draft" for spec in specs), len(self._addresses["draft"])
        if drafts != there:
            remedy = f"names {there} workers for {drafts} drafts: give one address for each"
            raise InputError("draft_address", ",".join(self._addresses["draft"]) or "(not given)", remedy)
        until = time.monotonic() + self._wait_seconds_max
        for spec in specs:
            address = self.address(spec.role, spec.index)
            reply = _ask(address, spec.role, until)
            _check(reply, spec, address)
            self._pids[spec.key] = reply.pid

    def address(self, role: Role, index: int) -> str:
        """See `base.Launcher.address`; it never changes."""
        return self._addresses[role][index]

    def pid(self, role: Role, index: int) -> int | None:
        """The worker's process id on its machine when it was found."""
        return self._pids.get((role, index))

    def close(self) -> None:
        """Nothing to stop."""


def _ask(address: str, role: Role, until: float) -> Any:
    """Who the worker is; tries again until then, for it may still load its model."""
    while True:
        try:
            with grpc.insecure_channel(address, options=CLIENT_OPTIONS) as channel:
                return common_pb2_grpc.WorkerStub(channel).Info(common_pb2.InfoRequest(), timeout=ASK_SECONDS)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                raise InputError(f"{role}_address", address, "what answers there is no worker") from None
            if time.monotonic() > until:
                raise WorkerError(f"no {role} worker answers at {address}: {error.details()}") from None
        time.sleep(POLL_SECONDS)


def _check(reply: Any, spec: WorkerSpec, address: str) -> None:
    field = f"{spec.role}_address"
    if reply.role != spec.role:
        raise InputError(field, address, f"a {reply.role} worker answers there, not a {spec.role} worker")
    agreed: Mapping[str, Any] = json.loads(reply.details)["agreed"]
    for name, theirs in agreed.items():
        if name == "max_requests" and spec.role == "draft":
            continue  # it may serve other targets too, and has room for any number of requests
        if theirs != spec.options[name]:
            remedy = (
                f"its {name} is {theirs}, here it is {spec.options[name]}; start both with the same options"
            )
            raise InputError(field, address, remedy)
