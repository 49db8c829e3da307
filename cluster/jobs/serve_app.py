"""The server as a Ray Serve application, for KubeRay's RayService: `serve_app:build` and settings.

One replica holds the coordinator and answers HTTP through Serve's proxies, on the paths of `amusd serve`;
target and draft are actors beside it. Keys, queue and sampling work as there. TLS and addresses are the
proxies' affair, and gRPC is not offered.
"""

import asyncio
import time
from contextlib import aclosing
from typing import Any

from fastapi import FastAPI
from ray import serve

from amusd.errors import InputError, WorkerError
from amusd.hosting import HostedEngine
from amusd.launchers.ray_metrics import RayMetrics
from amusd.params import SamplingParams
from amusd.prompts import PromptReader
from amusd.serving.desk import FrontDesk
from amusd.serving.http_front import HttpFront
from amusd.serving.intake import Intake
from amusd.serving.logs import log, start_logging
from amusd.serving.metrics import ServerMetrics
from amusd.serving.settings import read_settings
from amusd.serving.statistics import Statistics

OF_THE_PROXY = ("host", "port", "grpc_port", "ssl_certfile", "ssl_keyfile")
FIRST_TOKEN = SamplingParams(temperature=0, max_tokens=1, ignore_eos=True)


@serve.deployment(max_ongoing_requests=1000, health_check_period_s=5, graceful_shutdown_timeout_s=60)
@serve.ingress()
class Amusd:
    """One engine.

    Args:
        settings: of `amusd serve`, by name.
    """

    async def __init__(self, settings: dict[str, Any]) -> None:
        for name in OF_THE_PROXY:
            if name in settings:
                raise InputError(name, settings[name], "is the Serve proxy's to choose; drop it")
        engine, config = read_settings(settings, None)
        start_logging(config.log_format)
        for remark in engine.remarks:
            log(remark)
        reader = await asyncio.to_thread(PromptReader, engine)
        model = config.served_model_name or engine.target
        self._desk = FrontDesk(
            engine.max_requests, config.max_queue, ServerMetrics(model, vllm_names=config.vllm_metrics)
        )
        template = None if config.chat_template is None else config.chat_template.read_text(encoding="utf-8")
        intake = Intake(reader, template)
        self._front = HttpFront(self._desk, intake, model, config.api_key, int(time.time()))
        self._engine = HostedEngine(reader, log)
        await asyncio.to_thread(self._engine.start_workers)
        self._coordinator = await self._engine.connect(traced=False)
        async with aclosing(self._coordinator.stream(None, [0], FIRST_TOKEN)) as chunks:
            async for _ in chunks:
                pass
        self._desk.open(self._coordinator)
        statistics = Statistics(self._desk, self._coordinator, config.statistics_seconds, RayMetrics())
        self._looking = asyncio.create_task(statistics.run())

    def __serve_build_asgi_app__(self) -> FastAPI:
        """The routes of `amusd serve`."""
        return self._front.app()

    def check_health(self) -> None:
        """Have the replica replaced when its engine has failed for good."""
        if self._coordinator.failure is not None:
            raise WorkerError(f"the engine has failed: {self._coordinator.failure}")


def build(settings: dict[str, Any]) -> serve.Application:
    """The application, as `serve run serve_app:build NAME=VALUE ...` and RayService make it."""
    return Amusd.bind(settings)
