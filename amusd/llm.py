"""The Python API: `LLM` starts the workers, decodes, and leaves nothing behind."""

import asyncio
import concurrent.futures
import json
import queue
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from amusd.config import EngineConfig
from amusd.coordinator.coordinator import Coordinator
from amusd.deployment import launcher_for, plan_deployment
from amusd.devices import pin_thread
from amusd.errors import AmusdError, DeviceError, InputError
from amusd.outputs import Chunk, RequestOutput
from amusd.params import SamplingParams
from amusd.prompts import Prompt, PromptReader
from amusd.tracing import chrome_trace

T = TypeVar("T")
Job = tuple[str | None, list[int], SamplingParams]
CLOSE_SECONDS_MAX = 1.0
CLOSED = "this LLM is closed: make a new one"


class LLM:
    """A target, its drafters and a coordinator; use it as a context manager.

    Args:
        on_event: called with a line of text at each step of the start.
        options: the fields of `amusd.config.EngineConfig`, among them target, draft, launcher,
            target_devices, draft_devices, mode and dtype.

    Raises:
        InputError: a value is refused; nothing was started.
        ModelError, WorkerError: a worker could not start; nothing is left behind.

    Example:
        >>> with LLM(target="demo", draft="demo", launcher="local") as llm:
        ...     [output] = llm.generate("def add(a, b):", SamplingParams(temperature=0, max_tokens=8))
    """

    def __init__(self, *, on_event: Callable[[str], None] | None = None, **options: Any) -> None:
        self._start(PromptReader(EngineConfig(**options)), on_event)

    @classmethod
    def from_reader(cls, reader: PromptReader, on_event: Callable[[str], None] | None = None) -> Self:
        """The engine of a reader, for whoever reads prompts before anything is started."""
        llm = cls.__new__(cls)
        llm._start(reader, on_event)
        return llm

    def _start(self, reader: PromptReader, on_event: Callable[[str], None] | None) -> None:
        self.config = reader.config
        self._reader = reader
        self._say = on_event or (lambda text: None)
        self._closed = False
        for remark in self.config.remarks:
            self._say(remark)
        self._started_ns = time.monotonic_ns()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run_loop, daemon=True)
        self._launcher = launcher_for(self.config)
        try:
            elsewhere = self._launcher.elsewhere
            deployment = plan_deployment(self.config, len(reader.tokenizer), elsewhere=elsewhere)
            self._io_cores = deployment.io_cores
            self._say(f"starting {len(deployment.workers)} workers ({self.config.launcher}): {deployment}")
            self._launcher.start(deployment.workers)
            self._thread.start()
            self._coordinator = self._call(self._connect(len(deployment.workers) - 1))
        except BaseException:
            self.close()
            raise

    # -- decoding ------------------------------------------------------------------------------

    def generate(
        self,
        prompts: Prompt | Sequence[Prompt],
        params: SamplingParams | Sequence[SamplingParams] | None = None,
    ) -> list[RequestOutput]:
        """Decode prompts (text or token ids, one or many); outputs come in the order of the prompts.

        Args:
            params: for all prompts, or one for each; None means `SamplingParams()`.
        """
        many = _as_list(prompts)
        settings = _settings_for(many, params)

        jobs = [(*self._encode(prompt), setting) for prompt, setting in zip(many, settings, strict=True)]
        for _, tokens, setting in jobs:
            self._reader.check(tokens, setting)
        return self._call(self._decode_all(jobs))

    def stream(self, prompt: Prompt, params: SamplingParams | None = None) -> Iterator[Chunk]:
        """Decode one prompt; yields what each commit adds. Leaving the loop early aborts the request.

        Chunks of several outputs (`n`) come as they are written; `Chunk.index` tells them apart.
        """
        text, tokens = self._encode(prompt)
        [settings] = _settings_for([prompt], params)
        self._reader.check(tokens, settings)
        return self._chunks(text, tokens, settings)

    def _chunks(self, text: str | None, tokens: list[int], params: SamplingParams) -> Iterator[Chunk]:
        chunks: queue.SimpleQueue[Chunk | Exception | None] = queue.SimpleQueue()

        async def pump() -> None:
            try:
                async with aclosing(self._coordinator.stream(text, tokens, params)) as source:
                    async for chunk in source:
                        chunks.put(chunk)
                chunks.put(None)
            except asyncio.CancelledError:
                chunks.put(AmusdError(CLOSED))
                raise
            except Exception as error:  # noqa: BLE001 - raised where the stream is read
                chunks.put(error)

        task = asyncio.run_coroutine_threadsafe(pump(), self._running_loop())
        try:
            while (item := chunks.get()) is not None:
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            if not task.done():
                task.cancel()

    async def _decode_all(self, jobs: Sequence[Job]) -> list[RequestOutput]:
        tasks = [asyncio.create_task(self._decode(*job)) for job in jobs]
        try:
            return await asyncio.gather(*tasks)
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise

    async def _decode(self, text: str | None, tokens: list[int], params: SamplingParams) -> RequestOutput:
        finished: list[RequestOutput] = []
        async with aclosing(self._coordinator.stream(text, tokens, params)) as chunks:
            async for chunk in chunks:
                if chunk.finished is not None:
                    finished.append(chunk.finished)
        first, *others = sorted(finished, key=lambda output: output.index)
        return replace(first, siblings=tuple(others)) if others else first

    def _encode(self, prompt: Prompt) -> tuple[str | None, list[int]]:
        return prompt if isinstance(prompt, str) else None, self._reader.read(prompt)

    def chat_prompt(self, message: str) -> list[int]:
        """The prompt, as token ids, that the tokenizer's chat template makes of one user message.

        Raises:
            InputError: the tokenizer has no chat template.
        """
        return self._reader.read_chat(message)

    # -- looking at it -------------------------------------------------------------------------

    def info(self) -> dict[str, Any]:
        """Each worker by name: role, device, process id, round trip in seconds, and model details."""
        return self._call(self._coordinator.info())

    def write_trace(self, path: str | Path) -> None:
        """Write what every worker did since the start as Chrome-trace JSON (opens in Perfetto)."""
        target, drafts = self._call(self._coordinator.tracks(self._started_ns))
        Path(path).write_text(json.dumps(chrome_trace([*drafts, target])), encoding="utf-8")

    # -- starting and ending -------------------------------------------------------------------

    async def _connect(self, draft_count: int) -> Coordinator:
        """A coordinator over the running workers."""
        addresses = [partial(self._launcher.address, "draft", index) for index in range(draft_count)]
        target = partial(self._launcher.address, "target", 0)
        coordinator = Coordinator(
            target,
            addresses,
            self._reader.tokenizer,
            self.config.max_requests,
            self._launcher.processors,
        )
        await coordinator.start()
        for name, details in (await coordinator.info()).items():
            self._say(f"{name}: {details['summary']}")
        return coordinator

    async def _disconnect(self) -> None:
        """End the streams, and let what gRPC still does for them end too."""
        if hasattr(self, "_coordinator"):
            await self._coordinator.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        if others:
            await asyncio.wait(others, timeout=CLOSE_SECONDS_MAX)

    def _run_loop(self) -> None:
        if self._io_cores:
            with suppress(DeviceError):  # cores that went away meanwhile cost speed, not the engine
                pin_thread(self._io_cores)
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._closed:
            raise AmusdError(CLOSED)
        return self._loop

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the coordinator's loop; Ctrl-C here cancels it there."""
        if self._closed:
            work.close()
        future = asyncio.run_coroutine_threadsafe(work, self._running_loop())
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise AmusdError(CLOSED) from None
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """Stop the workers; safe to call again."""
        if self._closed:
            return
        try:
            if self._thread.is_alive():
                self._call(self._disconnect())
                self._loop.call_soon_threadsafe(self._loop.stop)
                self._thread.join()
            self._loop.close()
        finally:
            self._closed = True
            self._launcher.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _as_list(prompts: Prompt | Sequence[Prompt]) -> list[Prompt]:
    if not isinstance(prompts, Sequence) or isinstance(prompts, bytes):
        raise InputError("prompts", prompts, "give text, a list of token ids, or a list of such prompts")
    if isinstance(prompts, str) or (prompts and isinstance(prompts[0], int)):
        return [prompts]  # type: ignore[list-item]
    return list(prompts)  # type: ignore[arg-type]


def _settings_for(
    prompts: Sequence[Prompt], params: SamplingParams | Sequence[SamplingParams] | None
) -> list[SamplingParams]:
    if params is None or isinstance(params, SamplingParams):
        return [params or SamplingParams()] * len(prompts)
    if not isinstance(params, Sequence) or not all(isinstance(setting, SamplingParams) for setting in params):
        raise InputError("params", params, "give SamplingParams(...), or a list of them")
    if len(params) != len(prompts):
        raise InputError(
            "params", f"{len(params)} of them", f"give one, or {len(prompts)}: one for each prompt"
        )
    return list(params)
