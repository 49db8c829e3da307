"""An engine in this process: its workers, started and ended, and the coordinator over them.

`LLM` gives it a thread with an event loop, a server its own loop.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final

from amusd.coordinator.coordinator import Coordinator
from amusd.deployment import launcher_for, plan_deployment
from amusd.devices import pin_thread, pin_threads, thread_ids
from amusd.errors import DeviceError
from amusd.prompts import PromptReader

GRPC_THREADS: Final = ("event_engine", "grpc", "lifeguard")  # how the names of its own threads begin


class HostedEngine:
    """Workers as a reader's configuration wants them.

    Args:
        say: called with a line of text at each step of the start.

    Attributes:
        coordinator: there once `connect` has returned.
    """

    coordinator: Coordinator

    def __init__(self, reader: PromptReader, say: Callable[[str], None]) -> None:
        self._reader = reader
        self._say = say
        self._launcher = launcher_for(reader.config)
        self._io_cores: tuple[int, ...] = ()

    def start_workers(self) -> None:
        """Start the workers; returns when each has loaded its model.

        Raises:
            InputError, ModelError, WorkerError: one could not start; nothing is left behind.
        """
        config = self._reader.config
        vocabulary_size, elsewhere = len(self._reader.tokenizer), self._launcher.elsewhere
        deployment = plan_deployment(config, vocabulary_size, elsewhere=elsewhere)
        self._io_cores = deployment.io_cores
        if config.launcher == "attached":
            self._say(f"joining the workers at {config.target_address}, {config.draft_address or 'no draft'}")
        else:
            self._say(f"starting {len(deployment.workers)} workers ({config.launcher}): {deployment}")
        self._launcher.start(deployment.workers)

    async def connect(self, *, traced: bool = True) -> Coordinator:
        """A coordinator over the running workers, on the loop that runs this.

        Args:
            traced: see `Coordinator`.

        Raises:
            WorkerError: the target does not answer.
        """
        drafts = [
            (model, partial(self._launcher.address, "draft", index))
            for index, model in enumerate(self._reader.config.model_drafts)
        ]
        target = partial(self._launcher.address, "target", 0)
        requests_max = self._reader.config.max_requests
        tokenizer = self._reader.tokenizer
        processors = self._launcher.processors
        self.coordinator = Coordinator(target, drafts, tokenizer, requests_max, processors, traced=traced)
        await self.coordinator.start()
        self._leave_the_target_its_cores()
        for name, details in (await self.coordinator.info()).items():
            self._say(f"{name}: {details['summary']}")
        return self.coordinator

    async def disconnect(self) -> None:
        """End the coordinator's streams, where there are some."""
        if hasattr(self, "coordinator"):
            await self.coordinator.close()

    def close(self) -> None:
        """Stop the workers; safe to call again."""
        self._launcher.close()

    def _leave_the_target_its_cores(self) -> None:
        """Keep the coordinator's thread, which is this one, and those that gRPC has started elsewhere."""
        if self._io_cores:
            with suppress(DeviceError, OSError):  # cores that went away meanwhile cost speed, not the engine
                pin_thread(self._io_cores)
                pin_threads(thread_ids(GRPC_THREADS), self._io_cores)


async def end_other_tasks(seconds_max: float) -> None:
    """Cancel what else runs on this loop, and let what gRPC still does for ended streams end too."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    if others:
        await asyncio.wait(others, timeout=seconds_max)
