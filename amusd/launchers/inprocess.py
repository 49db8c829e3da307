"""The target in the caller's own process, the drafts as processes beside it.

That is where Python logits processors can be used: a function cannot travel. Everything else is slower or the
same: the target shares the interpreter with the caller and the coordinator, its threads are the caller's, and
if its engine crashes, so does the caller. A target that is gone is not started again.
"""

import os
from collections.abc import Sequence

from amusd.errors import WorkerError
from amusd.launchers.base import Role, WorkerSpec
from amusd.launchers.local import LocalLauncher
from amusd.params import ProcessorsOf
from amusd.workers.entry import RunningWorker, run_worker


class InProcessLauncher:
    """Runs the target worker on threads of this process; see `base.Launcher`.

    Attributes:
        processors: Python logits processors by request, which the target looks up when one is opened.
    """

    elsewhere = False

    def __init__(self, *, debug: bool = False) -> None:
        self.processors: ProcessorsOf | None = {}
        self._drafts = LocalLauncher(debug=debug)
        self._target: RunningWorker | None = None

    def start(self, specs: Sequence[WorkerSpec]) -> None:
        """Load the target here while the drafts load in their processes. See `base.Launcher.start`."""
        [target] = [spec for spec in specs if spec.role == "target"]
        payload = target.payload()
        payload["options"]["processors"] = self.processors
        try:
            self._target = run_worker(payload)
            self._drafts.start([spec for spec in specs if spec.role == "draft"])
        except BaseException:
            self.close()
            raise

    def address(self, role: Role, index: int) -> str:
        """See `base.Launcher.address`."""
        if role == "draft":
            return self._drafts.address(role, index)
        if self._target is None:
            raise WorkerError("target worker 0 is not running")
        return self._target.address

    def pid(self, role: Role, index: int) -> int | None:
        """See `base.Launcher.pid`."""
        return self._drafts.pid(role, index) if role == "draft" else os.getpid()

    def close(self) -> None:
        """Stop all workers. See `base.Launcher.close`."""
        target, self._target = self._target, None
        try:
            if target is not None:
                target.stop()
        finally:
            self._drafts.close()
