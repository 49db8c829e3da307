"""The Python API: `LLM` starts the workers, decodes, and leaves nothing behind."""

import asyncio
import concurrent.futures
import json
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterable, Iterator, Sequence
from contextlib import aclosing
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

from amusd.batches import as_list, settings_for, wishes_for
from amusd.config import EngineConfig
from amusd.errors import AmusdError
from amusd.hosting import HostedEngine, end_other_tasks
from amusd.outputs import Chunk, RequestOutput, joined
from amusd.params import SamplingParams
from amusd.prompts import Prompt, PromptReader
from amusd.tracing import chrome_trace
from amusd.wishes import Wishes, WishLists, WishOptions

T = TypeVar("T")
Job = tuple[str | None, list[int], SamplingParams, Wishes]
AHEAD_PER_PLACE = 8  # so that one long output does not leave places empty
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
        self._engine = HostedEngine(reader, self._say)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run_loop, daemon=True)
        try:
            self._engine.start_workers()
            self._thread.start()
            self._coordinator = self._call(self._engine.connect())
        except BaseException:
            self.close()
            raise

    # -- decoding ------------------------------------------------------------------------------

    def generate(
        self,
        prompts: Prompt | Sequence[Prompt],
        params: SamplingParams | Sequence[SamplingParams] | None = None,
        **wishes: Unpack[WishLists],
    ) -> list[RequestOutput]:
        """Decode prompts (text or token ids, one or many); outputs come in the order of the prompts.

        Args:
            params: for all prompts, or one for each; None means `SamplingParams()`.
            wishes: speculative, num_speculative_tokens, priority, deadline_seconds, as `amusd.wishes.Wishes`
                has them, each for all prompts or as a list with one for each. They do not change the text.
        """
        many = as_list(prompts)
        settings = zip(many, settings_for(many, params), wishes_for(many, wishes), strict=True)
        jobs = [(*self._encode(prompt), setting, wished) for prompt, setting, wished in settings]
        for _, tokens, setting, _ in jobs:
            self._reader.check(tokens, setting)
        return self._call(self._decode_all(jobs))

    def generate_each(
        self, jobs: Iterable[tuple[Prompt, SamplingParams, Wishes]]
    ) -> Generator[RequestOutput, None, None]:
        """Decode any number of prompts; yields the outputs one by one, in the order of the prompts.

        Eight times `max_requests` prompts are taken ahead of the output that is waited for; among them
        priorities count. Leaving the loop early aborts them.
        """
        waiting = iter(jobs)
        room = AHEAD_PER_PLACE * self.config.max_requests
        ahead: deque[concurrent.futures.Future[RequestOutput]] = deque()
        try:
            while True:
                for prompt, params, wishes in islice(waiting, room - len(ahead)):
                    text, tokens = self._encode(prompt)
                    self._reader.check(tokens, params)
                    work = self._decode(text, tokens, params, wishes)
                    ahead.append(asyncio.run_coroutine_threadsafe(work, self._running_loop()))
                if not ahead:
                    return
                output = ahead[0].result()
                ahead.popleft()
                yield output
        finally:
            for future in ahead:
                future.cancel()

    def stream(
        self, prompt: Prompt, params: SamplingParams | None = None, **wishes: Unpack[WishOptions]
    ) -> Iterator[Chunk]:
        """Decode one prompt; yields what each commit adds. Leaving the loop early aborts the request.

        Chunks of several outputs (`n`) come as they are written; `Chunk.index` tells them apart.

        Args:
            wishes: as of `generate`.
        """
        text, tokens = self._encode(prompt)
        [settings] = settings_for([prompt], params)
        self._reader.check(tokens, settings)
        return self._chunks(text, tokens, settings, Wishes.from_dict(wishes))

    def _chunks(
        self, text: str | None, tokens: list[int], params: SamplingParams, wishes: Wishes
    ) -> Iterator[Chunk]:
        chunks: queue.SimpleQueue[Chunk | Exception | None] = queue.SimpleQueue()

        async def pump() -> None:
            try:
                async with aclosing(self._coordinator.stream(text, tokens, params, wishes)) as source:
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

    async def _decode(
        self, text: str | None, tokens: list[int], params: SamplingParams, wishes: Wishes
    ) -> RequestOutput:
        finished: list[RequestOutput] = []
        async with aclosing(self._coordinator.stream(text, tokens, params, wishes)) as chunks:
            async for chunk in chunks:
                if chunk.finished is not None:
                    finished.append(chunk.finished)
        return joined(finished)

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

    async def _disconnect(self) -> None:
        await self._engine.disconnect()
        await end_other_tasks(CLOSE_SECONDS_MAX)

    def _run_loop(self) -> None:
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
            self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
