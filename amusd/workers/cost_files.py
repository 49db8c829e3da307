"""What passes cost, kept in a file from one life of a worker to the next.

One small file for each model, role, device and way to verify, in `$XDG_CACHE_HOME/amusd/costs`, which is
`~/.cache/amusd/costs`. `AMUSD_COST_FILES` names another folder; `off` turns this off. A file that cannot be
read is said in the worker's summary, one that cannot be written on its standard error; neither is a reason to
stop.
"""

import hashlib
import json
import os
import platform
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from amusd.devices import DeviceSpec
from amusd.policies.costs import CostCurve

VARIABLE: Final = "AMUSD_COST_FILES"
OFF: Final = "off"
SAVE_SECONDS: Final = 60.0  # between two writings, unless the worker ends
PASSES_MIN: Final = 32  # since the last writing; fewer are no news
_FILE_BYTES_MAX: Final = 65_536


def folder() -> Path | None:
    """Where the files are; None where they are turned off."""
    named = os.environ.get(VARIABLE, "")
    if named == OFF:
        return None
    if named:
        return Path(named)
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(cache) / "amusd" / "costs"


class CostFile:
    """Reads a curve's past and writes its present.

    Args:
        about: what the costs are of, in plain JSON types.
        curve: which the file is for.

    Attributes:
        remark: what became of reading the file, for the start-up print; empty where there was none.
    """

    def __init__(self, about: Mapping[str, Any], curve: CostCurve) -> None:
        self.remark = ""
        self._about = dict(about)
        self._curve = curve
        digest = hashlib.sha256(json.dumps(self._about, sort_keys=True).encode()).hexdigest()[:16]
        place = folder()
        self._path = None if place is None else place / f"{digest}.json"
        self._written_at: float | None = None
        self._written_passes = 0

    def read(self) -> bool:
        """Have the curve go on from the file; whether there was one that could be used."""
        if self._path is None:
            return False
        try:
            if self._path.stat().st_size > _FILE_BYTES_MAX:
                raise ValueError(f"it is larger than {_FILE_BYTES_MAX} bytes")
            found = json.loads(self._path.read_text(encoding="utf-8"))
            if not isinstance(found, dict) or found.get("about") != self._about:
                raise ValueError("it is about something else")
            self._curve.resume(found["costs"])
        except FileNotFoundError:
            return False
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            self.remark = f"costs of passes in {self._path} are not used ({error}): they are learned afresh"
            return False
        self._written_passes = self._curve.passes
        self.remark = f"costs learned from {self._curve.passes} earlier passes"
        return True

    def write_if_due(self, now: float) -> None:
        """Write what was learned, not more often than every `SAVE_SECONDS`.

        Args:
            now: seconds on a monotonic clock.
        """
        late = self._written_at is None or now - self._written_at >= SAVE_SECONDS
        if late and self._curve.passes - self._written_passes >= PASSES_MIN:
            self.write()
            self._written_at = now

    def write(self) -> None:
        """Write what was learned since the last time, if anything, in one piece; the last writer wins."""
        if self._path is None or self._curve.passes == self._written_passes:
            return
        self._written_passes = self._curve.passes
        values = {"about": self._about, "costs": self._curve.to_dict()}
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=self._path.parent, suffix=".part")
            try:
                with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                    json.dump(values, file)
                os.replace(name, self._path)
            except BaseException:
                with suppress(OSError):
                    os.unlink(name)
                raise
        except OSError as error:
            remedy = f"set {VARIABLE} to a folder, or to {OFF}"
            sys.stderr.write(f"costs of passes cannot be kept in {self._path} ({error}): {remedy}\n")
            self._path = None


def machine(device: DeviceSpec) -> dict[str, Any]:
    """What costs depend on besides the model, as seen from the thread that will run it."""
    import torch  # late: only once the thread is pinned

    if device.kind == "cuda":
        hardware = [torch.cuda.get_device_name(index) for index in device.indices]
    else:
        hardware = [processor()]
    return {
        "device": str(device),
        "hardware": hardware,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def processor() -> str:
    """What the CPUs are called, as far as the system says it."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
