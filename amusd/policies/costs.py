"""What a pass costs by its number of rows: measured at start, followed while it runs.

Laws:
- Between measured row counts the cost is interpolated, beyond the last one its slope goes on; it never falls
  with more rows.
- A single slow pass (a neighbour on the machine) moves nothing by more than a twentieth.
"""

from bisect import bisect_left
from collections.abc import Mapping
from typing import Final

ROW_COST: Final = 0.033
"""What a row beyond the fourth adds to a pass, as a share of it, where nothing was measured: 12 to 14 % for
eight rows, 33 to 43 % for sixteen, in bf16 on one Zen 5 core with 0.24 and 0.75 GB of weights."""

_STEP: Final = 0.1  # of the way towards what was seen
_SURPRISE_MAX: Final = 0.5  # more than this share off counts as this share off


class CostCurve:
    """Seconds of one pass as a function of its rows over all requests.

    Args:
        seconds: measured, by number of rows.
        rows_multiple: the rows of each request are padded to a multiple of this.
    """

    def __init__(self, seconds: Mapping[int, float], rows_multiple: int = 4) -> None:
        if not seconds:
            seconds = {4: 1.0, 16: 1.0 + 12 * ROW_COST}
        self.rows_multiple = rows_multiple
        self._rows = sorted(seconds)
        self._seconds: list[float] = []
        for rows in self._rows:
            self._seconds.append(max(seconds[rows], *self._seconds, 0.0))
        self._drift = 1.0

    def seconds(self, requests: int, width: int) -> float:
        """The expected duration of a pass of `width` rows for each of some requests."""
        return self._drift * self._measured(requests * self.padded(width))

    def padded(self, width: int) -> int:
        """The rows that a request really takes."""
        return -(-width // self.rows_multiple) * self.rows_multiple

    def observe(self, requests: int, width: int, seconds: float) -> None:
        """A pass took so long."""
        surprise = seconds / self.seconds(requests, width) - 1.0
        self._drift *= 1.0 + _STEP * min(_SURPRISE_MAX, max(-_SURPRISE_MAX, surprise))

    def to_dict(self) -> dict[str, float]:
        """Seconds by rows, as they are now, for printing."""
        return {str(rows): self._drift * value for rows, value in zip(self._rows, self._seconds, strict=True)}

    def _measured(self, rows: int) -> float:
        known, values = self._rows, self._seconds
        if len(known) == 1 or rows <= known[0]:
            return values[0]
        right = min(bisect_left(known, rows), len(known) - 1)
        left = right - 1
        slope = (values[right] - values[left]) / (known[right] - known[left])
        return values[left] + slope * (rows - known[left])
