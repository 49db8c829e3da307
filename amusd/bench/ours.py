"""Our own contenders: an engine each, as a user starts it, on local workers."""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from amusd.bench.contenders import BY_KEY, Variant, device_of
from amusd.bench.runs import Run, Task
from amusd.bench.settings import BenchSettings
from amusd.devices import available, other_cores, pin_thread
from amusd.llm import LLM
from amusd.params import SamplingParams

_EXTRAS = (
    *("rollbacks", "corrections", "foreseen_corrections", "stale_nodes", "dropped_nodes"),
    *("overlap", "useful_overlap"),
)
_COUNTS = ("depth_verified", "depth_accepted", "rank_seen", "rank_hits")


class OurSession:
    """One engine.

    Args:
        variant: fixes the engine's mode, draft and number of drafted tokens.
    """

    def __init__(self, variant: Variant, settings: BenchSettings) -> None:
        contender = BY_KEY[variant.contender]
        assert contender.mode is not None
        device = device_of(contender, settings)
        options: dict[str, Any] = {"mode": contender.mode}
        if variant.draft is not None:
            options |= {"draft": variant.draft, "draft_devices": str(settings.draft_devices)}
            options |= {"share_gpu": settings.shares_gpu}
        if variant.k is not None:
            options["num_speculative_tokens"] = variant.k
        self._beside = other_cores(device, available())
        self._llm = LLM(
            target=settings.target,
            widen=settings.widen,
            dtype=settings.dtype,
            launcher="local",
            target_devices=str(device),
            **options,
        )

    @property
    def exact(self) -> bool:
        """Whether the engine's self-check says that passes agree bit for bit on its device."""
        return all(worker.get("exact", True) for worker in self._llm.info().values())

    @property
    def facts(self) -> str:
        """What the workers print when they start: models, dtypes, sizes, the self-check's verdict."""
        return " | ".join(str(worker["summary"]) for worker in self._llm.info().values())

    def run(self, variant: Variant, task: Task) -> Run:
        """Decode one prompt."""
        params = SamplingParams(
            temperature=task.temperature, seed=task.seed, max_tokens=task.tokens, ignore_eos=True
        )
        first_seconds, first_tokens, finished = 0.0, 0, None
        with kept_on(self._beside):
            started = time.perf_counter()
            for chunk in self._llm.stream(task.prompt, params):
                if not first_tokens and chunk.token_ids:
                    first_seconds, first_tokens = time.perf_counter() - started, len(chunk.token_ids)
                finished = chunk.finished
            seconds = time.perf_counter() - started
        assert finished is not None, "a stream ends with the finished request"
        metrics = finished.metrics
        accepted = len(finished.token_ids) - metrics.passes
        verified = round(accepted / metrics.acceptance_rate) if metrics.acceptance_rate else 0
        return Run(
            token_ids=finished.token_ids,
            seconds=seconds,
            first_seconds=first_seconds,
            first_tokens=first_tokens,
            passes=metrics.passes,
            verified=verified,
            accepted=accepted,
            extras={name: float(getattr(metrics, name)) for name in _EXTRAS},
            counts={name: list(getattr(metrics, name)) for name in _COUNTS},
        )

    def trace(self) -> dict[str, Any]:
        """Chrome-trace JSON of what the workers did, as `--trace` writes it."""
        with TemporaryDirectory() as folder:
            path = Path(folder) / "run.trace.json"
            self._llm.write_trace(path)
            trace: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return trace

    def pids(self) -> Sequence[int]:
        """The worker processes."""
        return [int(worker["pid"]) for worker in self._llm.info().values()]

    def close(self) -> None:
        """Stop the workers."""
        self._llm.close()


@contextmanager
def kept_on(cores: tuple[int, ...]) -> Iterator[None]:
    """Keep the calling thread, which reads the stream, off the target's cores."""
    before = pin_thread(cores)
    try:
        yield
    finally:
        pin_thread(before)
