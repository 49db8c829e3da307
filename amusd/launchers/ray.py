"""Workers as Ray actors: Ray places them, restarts their processes, and stays out of the token path."""

import os
import queue
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Literal, assert_never

import ray
import ray.exceptions
from ray.util import (
    get_node_ip_address,
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from amusd.devices import DeviceSpec, available, thread_environment
from amusd.errors import AmusdError, DeviceError, WorkerError
from amusd.launchers.base import START_SECONDS_MAX, Backoff, WorkerKey, WorkerSpec
from amusd.launchers.ray_cluster import RayCluster
from amusd.launchers.report import Ready, Report
from amusd.launchers.shell import RunningWorker, start_worker
from amusd.launchers.supervised import SupervisedLauncher

CPUS_PER_WORKER = 0.5  # so that two workers fit on one core as far as Ray's accounts go
PLACE_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 3.0
WORKER_STOP_SECONDS_MAX = 1.0  # a part of these; then its process is killed

Stage = Literal["awake", "load", "hold"]


class WorkerActor:
    """The shell around a worker inside an actor's process.

    Its constructor cannot fail: Ray gives up an actor whose constructor does. The launcher calls `awake`
    until the process is there, then `load`, then `hold`, which ends only when the process does. It calls
    `stop` at last.

    Args:
        spec: what `WorkerSpec.payload` returns, without a host if the node's own address is to be used.
        environment: variables to set before the worker loads.
    """

    def __init__(self, spec: dict[str, Any], environment: Mapping[str, str]) -> None:
        self._spec = spec
        self._environment = environment
        self._worker: RunningWorker | None = None

    def awake(self) -> int:
        """Return the process id."""
        return os.getpid()

    def load(self) -> Report:
        """Start the worker; return when it serves or has failed."""
        os.environ.update(self._environment)
        options = self._spec["options"]
        host = options["host"] or get_node_ip_address()  # type: ignore[no-untyped-call]
        self._worker, report = start_worker({**self._spec, "options": {**options, "host": host}})
        return report

    def hold(self) -> None:
        """Never return, so that the caller hears of the process's death at once."""
        threading.Event().wait()

    def stop(self) -> None:
        """End the worker, if there is one, which keeps what it has learned; the process goes on."""
        if self._worker is not None:
            self._worker.stop()


@dataclass(slots=True)
class _Actor:
    spec: WorkerSpec
    handle: Any
    backoff: Backoff = field(default_factory=Backoff)
    loading_since: float = 0.0
    pid: int | None = None
    pending: Any = None  # the object reference of the call in flight


@dataclass(frozen=True, slots=True)
class _Done:
    """A call to an actor has ended."""

    key: WorkerKey
    stage: Stage
    result: "Future[Any]"


class RayLauncher(SupervisedLauncher):
    """Places each worker as an actor in one placement group, and follows it through restarts.

    In a cluster of our own, `cuda:N` is this machine's GPU N. In one that we joined, Ray chooses the GPUs
    and only their number counts; CPU cores are those of the node that Ray chose. See `base.Launcher`.

    Args:
        address: the cluster to join; None joins the one that `RAY_ADDRESS` names, or the one that this
            process already uses, or starts one.
        debug: forward what the workers print to stderr.
        start_seconds_max: how long `start` waits for models to load.
    """

    def __init__(
        self,
        *,
        address: str | None = None,
        debug: bool = False,
        start_seconds_max: float = START_SECONDS_MAX,
    ) -> None:
        super().__init__(debug=debug, start_seconds_max=start_seconds_max)
        self._cluster = RayCluster(address, debug=debug)
        self.elsewhere = self._cluster.is_foreign
        self._events: queue.SimpleQueue[_Done | None] = queue.SimpleQueue()
        self._actors: dict[WorkerKey, _Actor] = {}
        self._restarts: dict[WorkerKey, float] = {}  # when, by time.monotonic()
        self._group: Any = None
        self._avoided: list[tuple[int, ...]] = []  # by bundle: the target's cores where it has the same node

    def _supervise(self, specs: Sequence[WorkerSpec]) -> None:
        self._cluster.open(cpus=len(specs))
        for spec in specs[:1]:
            self._cluster.pin(spec.io_cores)
        self._place(specs)
        for bundle, spec in enumerate(specs):
            if self._closing.is_set():
                return
            self._actors[spec.key] = _Actor(spec, self._create(spec, bundle))
            self._call(self._actors[spec.key], "awake")
        while not self._closing.is_set():
            with suppress(queue.Empty):
                event = self._events.get(timeout=self._seconds_to_wait())
                if event is not None:
                    self._on_done(event)
            for key in [key for key, when in self._restarts.items() if when <= time.monotonic()]:
                del self._restarts[key]
                self._call(self._actors[key], "awake")

    def _seconds_to_wait(self) -> float | None:
        now = time.monotonic()
        return max(0.0, min(self._restarts.values()) - now) if self._restarts else None

    def _place(self, specs: Sequence[WorkerSpec]) -> None:
        bundles = [_resources(spec.device) for spec in specs]
        if self.elsewhere:
            _check_gpus(specs)
        nodes = ray.nodes()  # type: ignore[no-untyped-call]
        several = sum(node["Alive"] for node in nodes) > 1
        self._group = placement_group(bundles, strategy="SPREAD" if several else "PACK")
        deadline = time.monotonic() + PLACE_SECONDS_MAX
        while not self._group.wait(0.5) and not self._closing.is_set():
            if time.monotonic() > deadline:
                free = ray.available_resources()  # type: ignore[no-untyped-call]
                raise WorkerError(
                    f"the Ray cluster has had no room for {bundles} for {PLACE_SECONDS_MAX:.0f} seconds; "
                    f"free are {free.get('CPU', 0)} CPU and {free.get('GPU', 0)} GPU; free some or add a node"
                )
        if self.elsewhere and not self._closing.is_set():
            self._avoided = check_cores(specs, _nodes_of(self._group))

    def _create(self, spec: WorkerSpec, bundle: int) -> Any:
        resources = _resources(spec.device)
        settings: dict[str, Any] = {
            "num_cpus": resources["CPU"],
            "num_gpus": resources.get("GPU", 0),  # an actor in a placement group has to ask again
            "max_restarts": -1,
            "max_concurrency": 4,  # `hold` stays for good
            "scheduling_strategy": PlacementGroupSchedulingStrategy(
                self._group, placement_group_bundle_index=bundle
            ),
        }
        environment: dict[str, str] = {}
        if self._cluster.is_ours:
            payload = spec.payload()
            if spec.device.kind == "cuda":
                # Ray has narrowed this to GPUs of its own choice.
                everything = ",".join(map(str, range(available().gpus)))
                environment["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", everything)
        else:
            # Ray may reuse a process that has imported torch; a runtime environment makes it start a fresh
            # one. In our own cluster there is none to reuse, and doing without saves more than a second.
            settings["runtime_env"] = {"env_vars": thread_environment(spec.device)}
            if spec.device.kind == "cuda":
                spec = replace(spec, device=DeviceSpec("cuda", tuple(range(len(spec.device.indices)))))
            # The cores of the node that Ray chose, not those of this machine, are what is left for I/O.
            avoided = {"io_cores": [], "avoided_cores": list(self._avoided[bundle])}
            payload = spec.payload(host="") | avoided
        return ray.remote(WorkerActor).options(**settings).remote(payload, environment)

    def _call(self, actor: _Actor, stage: Stage) -> None:
        key = actor.spec.key
        # Only `awake` may wait for a restart in progress; the others must fail with the process.
        method = getattr(actor.handle, stage).options(max_task_retries=-1 if stage == "awake" else 0)
        actor.pending = method.remote()
        actor.pending.future().add_done_callback(lambda result: self._events.put(_Done(key, stage, result)))

    def _on_done(self, event: _Done) -> None:
        actor = self._actors[event.key]
        if not ray.is_initialized():
            raise WorkerError("Ray was shut down by somebody else while workers were running on it")
        try:
            value = event.result.result()
        except ray.exceptions.RayError as error:
            self._on_death(actor, self._death(actor, error))
            return
        match event.stage:
            case "awake":
                actor.pid, actor.loading_since = value, time.monotonic()
                self._call(actor, "load")
            case "load":
                if not isinstance(value, Ready):
                    self._on_death(actor, value.exception(actor.spec.name))
                    return
                self._board.post_serving(event.key, value.address, value.pid)
                self._call(actor, "hold")
            case "hold":
                raise AssertionError("hold never returns")
            case _:
                assert_never(event.stage)

    def _on_death(self, actor: _Actor, error: AmusdError) -> None:
        """Raise what killed it if not all workers had started, else plan its restart."""
        if not self._board.is_serving():
            raise error
        self._board.post_down(actor.spec.key)
        now = time.monotonic()
        self._restarts[actor.spec.key] = now + actor.backoff.delay_seconds(now - actor.loading_since)

    def _death(self, actor: _Actor, error: Exception) -> AmusdError:
        said = self._cluster.last_line(actor.pid) or " ".join(str(error).split())[:400]
        return WorkerError(f"{actor.spec.name} died: {said}")

    def _wake(self) -> None:
        self._events.put(None)

    def _end(self) -> None:
        pids = [actor.pid for actor in self._actors.values() if actor.pid is not None]
        self._cluster.close(self._release, pids)

    def _release(self) -> None:
        stopping = [actor.handle.stop.remote() for actor in self._actors.values()]
        if stopping:
            ray.wait(stopping, num_returns=len(stopping), timeout=WORKER_STOP_SECONDS_MAX)
        for actor in self._actors.values():
            ray.kill(actor.handle)
        pending = [actor.pending for actor in self._actors.values()]
        if pending:
            ray.wait(pending, num_returns=len(pending), timeout=STOP_SECONDS_MAX)
        if self._group is not None:
            remove_placement_group(self._group)


def _nodes_of(group: Any) -> list[str]:
    """The node of each bundle of a placement group, by Ray's id."""
    nodes = placement_group_table(group)["bundles_to_node_id"]
    return [nodes[bundle] for bundle in sorted(nodes)]


def _check_gpus(specs: Sequence[WorkerSpec]) -> None:
    """Refuse at once what a cluster could never place.

    Raises:
        DeviceError: more GPUs are named than there are.
    """
    there = int(ray.cluster_resources().get("GPU", 0))  # type: ignore[no-untyped-call]
    named = 0
    for spec in specs:
        named += len(spec.device.indices) if spec.device.kind == "cuda" else 0
        if named > there:
            remedy = f"the Ray cluster has {there} GPUs in all; name fewer, or CPU cores"
            raise DeviceError(f"{spec.role}_devices", str(spec.device), remedy)


def check_cores(specs: Sequence[WorkerSpec], nodes: Sequence[str]) -> list[tuple[int, ...]]:
    """For each worker the target's cores on its node, once none is given to two workers of one node.

    Raises:
        DeviceError: one is.
    """
    owners: dict[tuple[str, int], str] = {}
    for spec, node in zip(specs, nodes, strict=True):
        for core in spec.device.cores:
            owner = owners.setdefault((node, core), f"{spec.role}_devices")
            if owner != f"{spec.role}_devices":
                remedy = (
                    f"Ray put both models on node {_address_of(node)}, where cpu:{core} is already given to "
                    f"{owner}; choose another, or free room on another node"
                )
                raise DeviceError(f"{spec.role}_devices", str(spec.device), remedy)
    targets = {
        node: spec.device.cores for spec, node in zip(specs, nodes, strict=True) if spec.role == "target"
    }
    return [targets.get(node, ()) for node in nodes]


def _address_of(node: str) -> str:
    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    return next((it["NodeManagerAddress"] for it in nodes if it["NodeID"] == node), node)


def _resources(device: DeviceSpec) -> dict[str, float]:
    gpus = {"GPU": float(len(device.indices))} if device.kind == "cuda" else {}
    return {"CPU": CPUS_PER_WORKER, **gpus}
