"""transformers' continuous batching: many requests at a time, without speculation.

It is what `generate_batch` runs on: a manager with a paged cache and a thread that makes passes over packed
rows. Requests are given to the manager as they arrive, from this process, and it notes itself when it has
each token: no message and no streaming is charged to it.

What it needs on a CPU: `sdpa` attention, the default of the loading, whose paged path works there; and a
number of blocks, for without one it takes 60 % of the memory, and does not get through its first pass in
seconds. Compiling (`default_compile_level=1`) costs half a minute of warm-up and was no faster.
"""

import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, cycle
from queue import Empty
from typing import Any, Final

import torch
from transformers import ContinuousBatchingConfig, GenerationConfig
from transformers.generation.continuous_batching import ContinuousBatchingManager
from transformers.generation.continuous_batching.requests import GenerationOutput

from amusd.bench.rival_transformers import load_target
from amusd.devices import parse_device
from amusd.models.names import quiet

BATCH_TOKENS_MAX: Final = 512
"""Rows of a pass, prompts included: 256 and 512 were equally fast, 1024 a tenth slower (one Zen 5 core, 16
prompts of 150 tokens at once)."""

BLOCK_TOKENS: Final = 256  # transformers' default
SPARE_BLOCKS: Final = 1.5  # as a share: below a fifth of free blocks the manager takes no new request
COLD: Final = 1e-4
"""The temperature that stands for 0: whether it samples is one setting for all requests."""

_POLL_SECONDS: Final = 0.05
_DRAIN_SECONDS_MAX: Final = 60.0


@dataclass(frozen=True, slots=True)
class _Job:
    """One request, as `rivals.py` sends it."""

    prompt: list[int]
    temperature: float
    tokens: int


class BatchRival:
    """A target and a manager that goes on running.

    Args:
        options: ``device``, ``target``, ``widen``, ``dtype``; ``requests``, most that are decoded at a time,
            and ``length_max``, tokens of the longest with its prompt.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        device = parse_device(options["device"])
        torch.set_num_threads(max(1, len(device.cores)))
        model = load_target(options, "cpu" if device.kind == "cpu" else device.parts[0])
        blocks = options["requests"] * -(-options["length_max"] // BLOCK_TOKENS)
        settings = ContinuousBatchingConfig(
            page_size=BLOCK_TOKENS,
            num_blocks=round(SPARE_BLOCKS * blocks) + 1,
            max_batch_tokens=BATCH_TOKENS_MAX,
            max_requests_per_batch=options["requests"],
            allow_block_sharing=False,  # nobody here reuses cells of an earlier request
            per_request_processors=True,
            seed=0,
        )
        sampling = GenerationConfig(  # type: ignore[no-untyped-call]
            do_sample=True,
            temperature=0.5,  # other than 1, or requests could not have their own
            top_k=0,
            top_p=1.0,
            eos_token_id=-1,
            pad_token_id=0,
        )
        with quiet():
            self._manager: ContinuousBatchingManager = model.init_continuous_batching(
                generation_config=sampling, continuous_batching_config=settings
            )
            self._manager.warmup()
            self._manager.start()
        attention = model.config._attn_implementation
        self.facts = f"{model.dtype}, {torch.get_num_threads()} threads, attention {attention}, {settings}"
        self._sent = 0

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Offer jobs when they are due (``arrivals``), or hold a number of them (``live``)."""
        jobs = [_Job(**job) for job in request["jobs"]]
        if "live" in request:
            return self._hold(jobs, request["live"], request["seconds"])
        return self._offer(jobs, request["arrivals"], request["seconds_max"])

    def _offer(self, jobs: Sequence[_Job], arrivals: Sequence[float], seconds_max: float) -> dict[str, Any]:
        """An open loop; see `offering.offer`."""
        answers: list[dict[str, Any]] = [{"first": None, "finished": None, "token_ids": []} for _ in jobs]
        waiting = deque(range(len(jobs)))
        live: dict[str, int] = {}
        started = time.perf_counter()
        until = started + seconds_max
        while (waiting or live) and (now := time.perf_counter()) < until:
            while waiting and started + arrivals[waiting[0]] <= now:
                index = waiting.popleft()
                live[self._send(jobs[index])] = index
            due = min(until, started + arrivals[waiting[0]]) if waiting else until
            if (output := self._result(due - time.perf_counter())) is not None:
                assert output.timestamps is not None, "they were asked for"
                answers[live.pop(output.request_id)] = {
                    "first": output.timestamps[0] - started,
                    "finished": output.timestamps[-1] - started,
                    "token_ids": output.generated_tokens,
                }
        seconds = max((item["finished"] or 0.0 for item in answers), default=0.0)
        if waiting or live:
            seconds = time.perf_counter() - started
            self._abort(live)
        return {"answers": answers, "seconds": seconds}

    def _hold(self, jobs: Sequence[_Job], live: int, seconds: float) -> dict[str, Any]:
        """A closed loop; see `offering.hold`."""
        waiting = chain(jobs, cycle(jobs[live:]))
        held = {self._send(next(waiting)) for _ in range(live)}
        missing = set(held)  # of the first wave, those that are not finished
        times: list[float] = []
        start = 0.0
        while held:
            output = self._result(_DRAIN_SECONDS_MAX)
            if output is None:
                raise ValueError(f"no request was finished in {_DRAIN_SECONDS_MAX:.0f} seconds")
            assert output.timestamps is not None, "they were asked for"
            times += output.timestamps
            held.remove(output.request_id)
            if output.request_id in missing:
                missing.remove(output.request_id)
                start = max(start, output.timestamps[-1])
            if missing or time.perf_counter() < start + seconds:
                held.add(self._send(next(waiting)))
        return {"tokens": sum(start < at <= start + seconds for at in times), "seconds": seconds}

    def _send(self, job: _Job) -> str:
        self._sent += 1
        request = self._manager.add_request(
            job.prompt,
            request_id=str(self._sent),
            max_new_tokens=job.tokens,
            record_timestamps=True,
            temperature=max(COLD, job.temperature),
        )
        if request is None:
            raise ValueError("the manager takes no requests any more")
        return request

    def _result(self, seconds: float) -> GenerationOutput | None:
        """The next finished request; None where none was finished in so many seconds."""
        output = self._manager.get_result(timeout=max(seconds, 0.0))
        if output is None and not self._manager.is_running():
            raise ValueError(f"the manager ended: {self._manager.background_thread_status.fatal_error}")
        if output is not None and output.error is not None:
            raise ValueError(output.error)
        return output

    def _abort(self, live: dict[str, int]) -> None:
        """Cancel what is not finished, and return when nothing is decoded any more."""
        for request in live:
            self._manager.cancel_request(request)
        until, processor = time.monotonic() + _DRAIN_SECONDS_MAX, self._manager.batch_processor
        assert processor is not None, "its thread made it"
        while processor.has_pending_requests():
            if time.monotonic() > until:
                raise ValueError("requests that were cancelled are still decoded")
            time.sleep(_POLL_SECONDS)
        with suppress(Empty):
            while True:
                self._manager.output_router.output_queue.get_nowait()
