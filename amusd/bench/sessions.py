"""The open sessions of all contenders: opened when first needed, warmed up, closed when memory runs short."""

from collections import OrderedDict
from dataclasses import replace
from types import TracebackType
from typing import Final, Self

import psutil

from amusd.bench.contenders import BY_KEY, Variant, device_of
from amusd.bench.ours import OurSession
from amusd.bench.rivals import RivalSession
from amusd.bench.runs import Run, Session, Task
from amusd.bench.settings import BenchSettings

WARM_UP_TOKENS: Final = 16
SPARE_BYTES: Final = 2 * 2**30
"""Kept free for caches, and for whoever else uses this machine."""
FIRST_GUESS_BYTES: Final = 2 * 2**30
"""Of a session, before one was seen."""


class Sessions:
    """Finds the session of a variant; the one that was idle longest makes room for a new one."""

    def __init__(self, settings: BenchSettings) -> None:
        self._settings = settings
        self._open: OrderedDict[str, Session] = OrderedDict()  # least recently used first
        self._warm: dict[tuple[str, str, float], float] = {}  # seconds per token when it was warmed up
        self._largest_bytes = FIRST_GUESS_BYTES

    def prepare(self, variant: Variant, task: Task) -> float:
        """Open the session; decode some tokens that nobody times where the variant has not run in it yet.

        Returns:
            Seconds per token of those, a rough guess from above of what a token will take.
        """
        session = self._session(variant)
        warm = (self._key(variant), variant.key, task.temperature)
        if warm not in self._warm:
            run = session.run(variant, replace(task, tokens=min(WARM_UP_TOKENS, task.tokens)))
            self._warm[warm] = run.seconds / len(run.token_ids)
        return self._warm[warm]

    def run(self, variant: Variant, task: Task) -> Run:
        """Decode one prompt in a session that was prepared."""
        return self._open[self._key(variant)].run(variant, task)

    def ours(self, variant: Variant) -> OurSession | None:
        """The open engine of a variant of ours; None where it was closed or is another system's."""
        session = self._open.get(self._key(variant))
        return session if isinstance(session, OurSession) else None

    def facts(self, variant: Variant) -> str:
        """What the open session of a variant says about itself."""
        return self._open[self._key(variant)].facts

    def close_one(self, variant: Variant) -> None:
        """Close the session of one variant, if it is open."""
        self._close(self._key(variant))

    def close(self) -> None:
        """Close all."""
        for key in list(self._open):
            self._close(key)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _session(self, variant: Variant) -> Session:
        key = self._key(variant)
        if key not in self._open:
            while self._open and psutil.virtual_memory().available < self._largest_bytes + SPARE_BYTES:
                self._close(next(iter(self._open)))
            self._open[key] = self._start(variant)
            self._largest_bytes = max(self._largest_bytes, _memory_bytes(self._open[key]))
        self._open.move_to_end(key)
        return self._open[key]

    def _start(self, variant: Variant) -> Session:
        contender, settings = BY_KEY[variant.contender], self._settings
        if contender.system == "amusd":
            return OurSession(variant, settings)
        options = {"target": settings.target, "widen": settings.widen, "dtype": settings.dtype}
        return RivalSession(contender.system, device_of(contender, settings), options)

    @staticmethod
    def _key(variant: Variant) -> str:
        """Another system's process holds all drafts; an engine of ours is one variant."""
        contender = BY_KEY[variant.contender]
        return variant.key if contender.system == "amusd" else f"{contender.system} {contender.placement}"

    def _close(self, key: str) -> None:
        session = self._open.pop(key, None)
        if session is not None:
            session.close()
        self._warm = {warm: seconds for warm, seconds in self._warm.items() if warm[0] != key}


def _memory_bytes(session: Session) -> int:
    """What the session's processes hold by now."""
    return sum(psutil.Process(pid).memory_info().rss for pid in session.pids())
