"""One server from start to end: engine, gRPC, HTTP, signals.

The ports are taken first and answer "starting"; once a first token was decoded the server is ready. SIGTERM
or SIGINT has it drain: nothing new is let in, what is live may finish within a deadline. A second one ends
it now.
"""

import asyncio
import json
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

import grpc
import grpc.aio
import uvicorn
from grpc_health.v1 import health, health_pb2
from prometheus_client import disable_created_metrics

from amusd import __version__
from amusd.config import EngineConfig, exact_in
from amusd.errors import InputError, WorkerError
from amusd.hosting import HostedEngine, end_other_tasks
from amusd.params import SamplingParams
from amusd.prompts import PromptReader
from amusd.rpc.v1 import inference_pb2_grpc
from amusd.serving.desk import FrontDesk
from amusd.serving.grpc_front import SERVICE, InferenceServicer
from amusd.serving.http_front import HttpFront
from amusd.serving.intake import Intake
from amusd.serving.logs import log, start_logging
from amusd.serving.metrics import ServerMetrics
from amusd.serving.settings import ServerConfig, variables_of_services
from amusd.serving.statistics import Statistics
from amusd.transport.server import start_server

if TYPE_CHECKING:
    from amusd.launchers.ray_metrics import RayMetrics

T = TypeVar("T")
FAILURE_POLL_SECONDS: Final = 0.5
HTTP_END_SECONDS_MAX: Final = 2
GRPC_END_SECONDS_MAX: Final = 1.0
TASKS_END_SECONDS_MAX: Final = 1.0
KEEP_ALIVE_SECONDS: Final = 65  # more than the idle time of the usual proxies and clients
FIRST_TOKEN: Final = SamplingParams(temperature=0, max_tokens=1, ignore_eos=True)


def serve(engine: EngineConfig, server: ServerConfig) -> None:
    """Serve until a signal ends it.

    Raises:
        InputError: a model, device, file or port cannot be used.
        ModelError, WorkerError: the engine cannot start, or has failed for good.
    """
    start_logging(server.log_format)
    disable_created_metrics()  # a second series for each counter, which nobody reads
    for remark in engine.remarks:
        log(remark)
    if aside := variables_of_services():
        log("left aside what Kubernetes sets for Services", variables=" ".join(aside))
    reader = PromptReader(engine)
    template = None if server.chat_template is None else server.chat_template.read_text(encoding="utf-8")
    with asyncio.Runner() as runner:
        runner.run(Server(reader, server, template).run())


class Server:
    """One engine and its two interfaces, on the event loop that runs it."""

    def __init__(self, reader: PromptReader, config: ServerConfig, template: str | None) -> None:
        self._config = config
        self._reader = reader
        self._model = config.served_model_name or reader.config.target
        self._metrics = ServerMetrics(self._model, vllm_names=config.vllm_metrics)
        self._desk = FrontDesk(reader.config.max_requests, config.max_queue, self._metrics)
        self._intake = Intake(reader, template)
        self._engine = HostedEngine(reader, log)
        self._health = health.aio.HealthServicer()
        self._ending = asyncio.Event()
        self._ending_now = asyncio.Event()
        self._started = int(time.time())

    async def run(self) -> None:
        """Start, serve, drain, end."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)
        listener = _listen(self._config)
        grpc_server, grpc_port = await self._start_grpc()
        http = self._http_server()
        http_task = asyncio.create_task(http.serve([listener]))
        ports = {"http_port": listener.getsockname()[1], "grpc_port": grpc_port}
        log("starting", host=self._config.host, model=self._model, version=__version__, **ports)
        try:
            await self._unless_ending(self._start_engine())
            if not self._ending.is_set():
                await self._set_health(health_pb2.HealthCheckResponse.SERVING)
                log("ready", host=self._config.host, **ports)
                await self._watch()
        finally:
            await self._drain()
            http.should_exit = True
            await asyncio.gather(http_task, grpc_server.stop(GRPC_END_SECONDS_MAX))
            await self._end_engine()
            log("ended")

    # -- starting -------------------------------------------------------------------------------

    async def _start_engine(self) -> None:
        await _on_daemon_thread(self._engine.start_workers)
        coordinator = await self._engine.connect(traced=False)
        async with aclosing(coordinator.stream(None, [0], FIRST_TOKEN)) as chunks:
            async for _ in chunks:
                pass
        self._desk.open(coordinator)

    async def _start_grpc(self) -> tuple[grpc.aio.Server, int]:
        servicer = InferenceServicer(self._desk, self._intake, self._config.api_key, self._describe)
        add: Callable[[grpc.aio.Server], Any] = lambda server: (  # noqa: E731
            inference_pb2_grpc.add_InferenceServicer_to_server(servicer, server)
        )
        await self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        host = f"[{self._config.host}]" if ":" in self._config.host else self._config.host
        return await start_server(
            host,
            self._config.grpc_port,
            {SERVICE: add},
            credentials=self._credentials(),
            checker=self._health,
        )

    def _credentials(self) -> grpc.ServerCredentials | None:
        certificate, key = self._config.ssl_certfile, self._config.ssl_keyfile
        if certificate is None or key is None:
            return None
        return grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())])

    def _http_server(self) -> "_HttpServer":
        front = HttpFront(self._desk, self._intake, self._model, self._config.api_key, self._started)
        return _HttpServer(
            uvicorn.Config(
                front.app(),
                log_config=None,
                access_log=False,
                lifespan="off",
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=HTTP_END_SECONDS_MAX,
                ssl_certfile=self._config.ssl_certfile,
                ssl_keyfile=self._config.ssl_keyfile,
            )
        )

    # -- serving --------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Return when a signal came.

        Raises:
            WorkerError: the engine has failed for good.
        """
        coordinator = self._desk.coordinator
        statistics = Statistics(self._desk, coordinator, self._config.statistics_seconds, self._ray_metrics())
        looking = asyncio.create_task(statistics.run())
        try:
            while not self._ending.is_set():
                if coordinator.failure is not None:
                    raise WorkerError(f"the engine has failed: {coordinator.failure}")
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._ending.wait(), FAILURE_POLL_SECONDS)
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)

    def _ray_metrics(self) -> "RayMetrics | None":
        if self._reader.config.launcher != "ray":
            return None
        from amusd.launchers.ray_metrics import RayMetrics

        return RayMetrics()

    async def _describe(self) -> str:
        """About the server, as JSON."""
        config = self._reader.config
        about: dict[str, Any] = {
            "version": __version__,
            "model": self._model,
            "target": config.target,
            "draft": config.draft,
            "mode": config.mode,
            "rule": config.rule_in_use,
            "exact": exact_in(config.rule_in_use),
            "max_model_len": self._reader.length_max,
            "max_requests": config.max_requests,
            "max_queue": self._config.max_queue,
            "has_chat_template": bool(self._reader.tokenizer.chat_template),
            "phase": self._desk.phase,
            "running": self._desk.running,
            "waiting": self._desk.waiting,
            "tasks": len(asyncio.all_tasks()),
        }
        if self._desk.phase != "starting":
            coordinator = self._engine.coordinator
            about["workers"] = await coordinator.info()
            states = await coordinator.states()
            about["occupancy"] = {name: state.counts for name, state in states.items()}
        return json.dumps(about)

    async def _set_health(self, status: "health_pb2.HealthCheckResponse.ServingStatus") -> None:
        for name in ("", SERVICE):
            await self._health.set(name, status)

    # -- ending ---------------------------------------------------------------------------------

    def _on_signal(self) -> None:
        if self._ending.is_set():
            self._ending_now.set()
        self._ending.set()

    async def _unless_ending(self, work: Any) -> None:
        """Do the work, or leave it where it is when a signal comes first."""
        task, ending = asyncio.ensure_future(work), asyncio.create_task(self._ending.wait())
        try:
            await asyncio.wait({task, ending}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
        finally:
            task.cancel()
            ending.cancel()
            await asyncio.gather(task, ending, return_exceptions=True)

    async def _drain(self) -> None:
        self._desk.close()
        await self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        if self._desk.inside:
            log("draining", running=self._desk.running, waiting=self._desk.waiting)
        ends = [
            asyncio.create_task(wait) for wait in (self._desk.wait_until_empty(), self._ending_now.wait())
        ]
        await asyncio.wait(ends, timeout=self._config.drain_seconds, return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.cancel()

    async def _end_engine(self) -> None:
        await self._engine.disconnect()
        self._intake.close()
        await asyncio.to_thread(self._engine.close)
        await end_other_tasks(TASKS_END_SECONDS_MAX)


class _HttpServer(uvicorn.Server):
    """Leaves signals to its owner."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def _listen(config: ServerConfig) -> socket.socket:
    """A listening socket, so that a port in use is an error before anything is started."""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    try:
        return socket.create_server((config.host, config.port), family=family, backlog=1024)
    except OSError as error:
        where = f"{config.host}:{config.port}"
        remedy = f"{error.strerror}: choose another host or port (0 takes any free port)"
        raise InputError("port", where, remedy) from None


async def _on_daemon_thread(work: Callable[[], T]) -> T:
    """Run blocking work on a thread that does not keep the process alive when it is given up."""
    loop, done = asyncio.get_running_loop(), asyncio.get_running_loop().create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)

    def run() -> None:
        result, failure = None, None
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - raised where it is awaited
            failure = error
        with suppress(RuntimeError):  # the loop has ended: nobody waits any more
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=run, name="amusd-start", daemon=True).start()
    result: T = await done
    return result
