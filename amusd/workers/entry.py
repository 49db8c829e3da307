"""What a launcher calls inside a fresh process or actor: load a model, serve it, say where."""

import asyncio
import importlib.metadata
import json
import secrets
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc.aio

from amusd.config import RULES_WITH_Q
from amusd.devices import DeviceSpec, parse_device
from amusd.rpc.v1 import common_pb2_grpc, draft_pb2_grpc, target_pb2_grpc
from amusd.tracing import Recorder
from amusd.transport.server import start_server
from amusd.workers.engine import Engine, Stop
from amusd.workers.service import WorkerServicer

if TYPE_CHECKING:
    from amusd.drafters import Drafter
    from amusd.speculation.target import Limits
    from amusd.workers.lookups import Lookups
    from amusd.workers.verifier import Verifier

SWITCH_INTERVAL_SECONDS = 0.0005  # the default, 5 ms, would let one thread hold a frame back for half a pass
TASKS_END_SECONDS_MAX = 1.0  # for tasks that are cancelled when a worker ends
AGREED = ("mode", "rule", "max_requests", "max_model_len", "vocabulary_size")
"""Options in which workers and coordinator must agree; those that were started apart compare them."""
VERSIONS = ("torch", "transformers", "grpcio", "protobuf", "msgpack")


@dataclass(frozen=True, slots=True)
class Served:
    """What a worker serves, and what it tells about itself.

    Attributes:
        details: filled while the model loads.
        services: full name to a function that adds it to a server.
    """

    role: str
    engine: Engine[Any]
    incarnation: int
    recorder: Recorder
    details: dict[str, Any]
    services: dict[str, Callable[[grpc.aio.Server], None]]


class RunningWorker:
    """A worker that serves until it is stopped."""

    def __init__(
        self, thread: "LoopThread", server: grpc.aio.Server, engine: Engine[Any], address: str
    ) -> None:
        self._thread = thread
        self._server = server
        self._engine = engine
        self.address = address

    def stop(self) -> None:
        """End the streams, the engine and the server."""

        async def end() -> None:
            await self._engine.post(Stop())
            await self._server.stop(grace=None)

        try:
            asyncio.run_coroutine_threadsafe(end(), self._thread.loop).result(timeout=10)
            self._engine.join(timeout=10)
        finally:
            self._thread.stop()


class LoopThread(threading.Thread):
    """A thread with an event loop, which is closed when the thread ends."""

    def __init__(self) -> None:
        super().__init__(name="amusd-grpc", daemon=True)
        self.loop = asyncio.new_event_loop()
        self.start()

    def run(self) -> None:
        """Run the loop until `stop`, then end what still runs in it."""
        try:
            self.loop.run_forever()
            if tasks := asyncio.all_tasks(self.loop):
                for task in tasks:
                    task.cancel()
                self.loop.run_until_complete(asyncio.wait(tasks, timeout=TASKS_END_SECONDS_MAX))
        finally:
            self.loop.close()

    def stop(self) -> None:
        """End the loop and the thread."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.join(timeout=10)


def run_worker(spec: dict[str, Any]) -> RunningWorker:
    """Start a worker in this process; returns when its model is loaded and it serves.

    Args:
        spec: role ("target" or "draft"), index, device, io_cores and options, as a launcher gives them.

    Raises:
        AmusdError: the model, the device or the port cannot be used.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    device = parse_device(spec["device"])
    start = _start_target if spec["role"] == "target" else _start_draft
    thread = LoopThread()
    try:
        return asyncio.run_coroutine_threadsafe(start(spec["options"], device, thread), thread.loop).result()
    except BaseException:
        thread.stop()
        raise


def drafters_max(rule: str) -> int:
    """How many drafters may attach: one where siblings are drawn from its law, else as many as usual."""
    from amusd.speculation.target import Limits

    return 1 if rule in RULES_WITH_Q else Limits().drafters_max


def target_limits(options: dict[str, Any]) -> "Limits":
    """What a target takes of its drafters: from each of them a full window of every request."""
    from amusd.policies.drafting import draft_policy
    from amusd.speculation.target import Limits

    mode, usual = options["mode"], Limits()
    window = usual.window
    if mode != "alone":
        window = draft_policy(mode, options["num_speculative_tokens"]).window
    return Limits(
        window=window,
        nodes_total_max=max(usual.nodes_total_max, 2 * window * options["max_requests"]),
        drafters_max=drafters_max(options["rule"]),
    )


async def _start_target(options: dict[str, Any], device: DeviceSpec, thread: LoopThread) -> RunningWorker:
    from amusd.policies.table import SpeculationTable, read_ks
    from amusd.policies.verifying import verify_policy
    from amusd.speculation.target import TargetEndpoint
    from amusd.workers.target import TargetServicer
    from amusd.workers.target_engine import TargetEngine

    limits = target_limits(options)
    recorder, incarnation = Recorder(), secrets.randbits(63)
    details: dict[str, Any] = {}

    def build() -> tuple["Verifier", TargetEndpoint, "Lookups"]:
        from amusd.workers.lookups import load_lookups
        from amusd.workers.verifier import load_verifier  # imports torch: only once the thread is pinned

        verifier = load_verifier(options, device)
        lookups = load_lookups(options, verifier.vocabulary_size)
        details.update(verifier.describe())
        details["summary"] = "; ".join([details["summary"], *lookups.describe()])
        return verifier, TargetEndpoint(incarnation, verifier.vocabulary_size, limits), lookups

    ks = options["policy_table"]
    table = None if ks is None else SpeculationTable(read_ks(ks))
    policy = verify_policy(options["mode"], options["num_speculative_tokens"], options["policy"], table)
    stall_seconds = options["prefill_stall_ms"] / 1e3
    engine = TargetEngine(build, policy, options["verify"], recorder, device.cores, stall_seconds)
    services = {
        "amusd.rpc.v1.Target": lambda s: target_pb2_grpc.add_TargetServicer_to_server(
            TargetServicer(engine), s
        ),
    }
    served = Served("target", engine, incarnation, recorder, details, services)
    return await _serve(served, options, device, thread)


async def _start_draft(options: dict[str, Any], device: DeviceSpec, thread: LoopThread) -> RunningWorker:
    from amusd.policies.costs import CostCurve
    from amusd.policies.drafting import STEP_ROWS_MAX, draft_policy
    from amusd.workers.cost_files import CostFile, machine
    from amusd.workers.draft import DraftServicer
    from amusd.workers.draft_engine import DraftEngine

    policy = draft_policy(options["mode"], options["num_speculative_tokens"])
    recorder, incarnation = Recorder(), secrets.randbits(63)
    details: dict[str, Any] = {}

    def build() -> tuple["Drafter", CostFile]:
        from amusd.drafters import load_drafter

        drafter = load_drafter(options | {"window": policy.window}, device)
        facts = drafter.describe()
        policy.costs = CostCurve(drafter.step_seconds, 1, STEP_ROWS_MAX, together=True)
        about = {"role": "draft", "model": facts["model"], "dtype": facts.get("dtype"), **machine(device)}
        cost_file = CostFile(about | {"rows": policy.costs.to_dict()["rows"]}, policy.costs)
        cost_file.read()
        details.update(facts)
        if cost_file.remark:
            details["summary"] = "; ".join([details["summary"], cost_file.remark])
        return drafter, cost_file

    engine = DraftEngine(build, incarnation, policy, recorder, device.cores)
    services = {
        "amusd.rpc.v1.Draft": lambda s: draft_pb2_grpc.add_DraftServicer_to_server(
            DraftServicer(engine, options.get("target_address")), s
        ),
    }
    served = Served("draft", engine, incarnation, recorder, details, services)
    return await _serve(served, options, device, thread)


async def _serve(
    served: Served, options: dict[str, Any], device: DeviceSpec, thread: LoopThread
) -> RunningWorker:
    """Load on the engine's thread, then serve."""
    served.engine.start()
    await asyncio.wrap_future(served.engine.loaded)
    details = served.details | {
        "versions": {name: importlib.metadata.version(name) for name in VERSIONS},
        "agreed": {name: options[name] for name in AGREED},
    }
    worker = WorkerServicer(
        served.role, str(device), served.incarnation, served.recorder, json.dumps(details), served.engine
    )
    services = {
        **served.services,
        "amusd.rpc.v1.Worker": lambda server: common_pb2_grpc.add_WorkerServicer_to_server(worker, server),
    }
    host = options.get("host", "127.0.0.1")
    server, port = await start_server(host, options.get("port", 0), services)
    return RunningWorker(thread, server, served.engine, f"{host}:{port}")
