"""Energy of the processor packages, where the kernel lets us read its counters (RAPL)."""

import re
from collections.abc import Sequence
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
_PACKAGE = re.compile(r"intel-rapl:\d+")  # AMD's counters have this name too; deeper ones are parts of these


class EnergyMeter:
    """Counters of all packages together.

    Args:
        folder: the kernel's; another one in tests.
    """

    def __init__(self, folder: Path = POWERCAP) -> None:
        self._counters: list[Path] = []
        self._ranges: list[int] = []
        self.absent_because = ""
        if not folder.is_dir():
            self.absent_because = f"this machine has no {folder}"
            return
        zones = sorted(zone for zone in folder.iterdir() if _PACKAGE.fullmatch(zone.name))
        try:
            for zone in zones:
                int((zone / "energy_uj").read_text())
                self._ranges.append(int((zone / "max_energy_range_uj").read_text()))
                self._counters.append(zone / "energy_uj")
        except OSError as error:
            self._counters.clear()
            self.absent_because = f"{error.filename} cannot be read ({error.strerror}); root may read it"
            return
        if not zones:
            self.absent_because = f"{folder} has no processor package (intel-rapl:0)"

    @property
    def is_present(self) -> bool:
        """Whether there is anything to read."""
        return bool(self._counters)

    def read(self) -> list[int]:
        """Microjoules of each package since some time; they wrap around."""
        return [int(counter.read_text()) for counter in self._counters]

    def joules(self, before: Sequence[int], after: Sequence[int]) -> float:
        """What all packages used between two readings."""
        used = sum(
            (end - start) % limit for start, end, limit in zip(before, after, self._ranges, strict=True)
        )
        return used / 1e6
