"""What a pass costs: measured when the model is loaded, learned from every pass since.

    seconds(N, B, L, W) =
        rows(N) + (B - 1) x per_request + B x L x per_cell + (B - 1) x L x (W - 1) x per_wide

for B requests that have N rows together, on a line through knots, and attend to L cells each. W are the rows
of the widest of them: attention is done with as many rows for each. Of one request that is in rows().

Laws:
- Between knots the cost of rows is interpolated, beyond the last one its slope goes on; it never falls with
  more rows, more requests or more cells.
- A single slow pass, however slow (a neighbour on the machine), moves what is foreseen of its own shape by at
  most a fortieth, of any other by a thirtieth, and by a hundredth more where something is forgotten. Where a
  share s of passes is such, the others come to lie s / (1 - s) / 4 below what is foreseen: 3 % where it is a
  tenth. A machine that is twice as slow from now on is known after some thirty passes.
- What passes show of one shape moves the others too, for machines get slower as a whole; but less.
- What passes do not show is forgotten: knots that none has had for a hundred passes go back to where they
  were measured, beside those that passes have. Otherwise rows that were slow once were never tried again.
"""

from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from math import inf, isfinite
from typing import Any, Final, NamedTuple

ROW_COST: Final = 0.033
"""What a row beyond the fourth adds to a pass, as a share of it, where nothing was measured: 12 to 14 % for
eight rows, 33 to 43 % for sixteen, in bf16 on one Zen 5 core with 0.24 and 0.75 GB of weights."""

REQUEST_COST: Final = 0.02  # what a further request adds besides its rows, as a share of the least pass
CELL_COST: Final = 2e-5  # what a cell adds that is attended to, likewise

_STEP: Final = 0.1  # of the way towards what was seen
_CHANGE_MAX: Final = 4.0  # between two lives, more than noise and neighbours explain
_SURPRISE_MAX: Final = 0.25  # more than this share off counts as this share off
_PASSES_KEPT: Final = 100  # without a knot, after which it goes back to its measured place
_FORGOTTEN: Final = 0.02  # of the way, with each further pass without it
_FORGOTTEN_MAX: Final = 0.01  # of its seconds, at most


@dataclass(slots=True)
class Learned:
    """The parameters of a curve, in seconds.

    Attributes:
        rows: the knots, ascending.
        seconds: what passes of so many rows take, of one request and without what they attend to.
        per_request: of every request but the first.
        per_cell: of every cell that a request attends to.
        per_wide: of every such cell, for every row but one that the widest request has.
        passes: that it was learned from.
    """

    rows: list[int]
    seconds: list[float]
    per_request: float
    per_cell: float
    per_wide: float
    passes: int = 0

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> "Learned":
        """What `asdict` made of one.

        Raises:
            ValueError: that is no such thing.
        """
        try:
            found = cls(**values)
            others = [found.per_request, found.per_cell, found.per_wide, found.passes]
            numbers = [*found.rows, *found.seconds, *others]
            usable = all(isinstance(number, int | float) and isfinite(number) for number in numbers)
        except (TypeError, OverflowError) as error:
            raise ValueError(str(error)) from None
        if not (
            usable
            and len(found.rows) == len(found.seconds) > 0
            and found.rows == sorted(set(found.rows))
            and found.rows[0] > 0
            and found.seconds == sorted(found.seconds)
            and found.seconds[0] > 0
            and min(others) >= 0
        ):
            raise ValueError("these are no costs of passes")
        return found


class _Parts(NamedTuple):
    """What the seconds of one shape are made of; a factor times its parameter is seconds."""

    knots: Sequence[tuple[int, float]]  # index and factor
    requests: float
    cells: float
    wide: float


class CostCurve:
    """Seconds of one pass.

    Args:
        seconds: measured, by number of rows, of one request.
        rows_multiple: rows are padded to a multiple of this.
        rows_max: of all requests together; up to here there are knots at doubles of the last measured.
        together: products take as many rows as there are; otherwise each request is padded to the widest, in
            attention too, and W does not count besides.
        per_wide: seconds, measured (see above); 0: they were not.
    """

    def __init__(
        self,
        seconds: Mapping[int, float],
        rows_multiple: int = 4,
        rows_max: int = 0,
        *,
        together: bool = False,
        per_wide: float = 0.0,
    ) -> None:
        if not seconds:
            seconds = {4: 1.0, 16: 1.0 + 12 * ROW_COST}
        self.rows_multiple = rows_multiple
        self.together = together
        rows = sorted(seconds)
        least = seconds[rows[0]]
        known = list(accumulate((seconds[each] for each in rows), max))
        self._learned = Learned(rows, known, REQUEST_COST * least, CELL_COST * least, per_wide)
        self._cells = 0
        while rows[-1] < rows_max:
            more = 2 * rows[-1]
            known.append(self.of_rows(more, 1, cells=0))
            rows.append(more)
        self._measured = tuple(known)
        self._unseen = [0] * len(rows)

    def seconds(self, requests: int, width: int, cells: int | None = None) -> float:
        """The expected duration of a pass in which each request has `width` rows (see `of_rows`)."""
        return self.of_rows(self.rows([width] * requests), requests, cells, width)

    def of_rows(self, rows: int, requests: int, cells: int | None = None, widest: int = 1) -> float:
        """The expected duration of a pass.

        Args:
            rows: of all requests together, padded or not.
            cells: that each request attends to; None: as many as in the last pass.
            widest: rows of the request that has most.
        """
        learned, attended = self._learned, self._cells if cells is None else cells
        seconds = (requests - 1) * learned.per_request + requests * attended * learned.per_cell
        if widest > 1 and self.together:
            seconds += (requests - 1) * attended * (widest - 1) * learned.per_wide
        for index, factor in self._knots(self.padded(rows)):
            seconds += factor * learned.seconds[index]
        return seconds

    def of_widths(self, widths: Collection[int], more: int = 0) -> float:
        """That of a pass of such widths, and `more` rows of one that does not get the widest by them."""
        return self.of_rows(self.rows(widths, more), len(widths), widest=max(widths))

    def of_wider(self, requests: int) -> float:
        """What it adds where the widest request has a row more, besides that row."""
        return self._parts(0, requests, self._cells, 2).wide * self._learned.per_wide

    def padded(self, rows: int) -> int:
        """The rows that are really taken."""
        return -(-rows // self.rows_multiple) * self.rows_multiple

    def rows(self, widths: Collection[int], more: int = 0) -> int:
        """The rows that a pass really takes where each request has so many, and one `more` besides."""
        if self.together:
            return self.padded(sum(widths) + more)
        return len(widths) * self.padded(max(widths) + more)

    def observe(self, rows: int, requests: int, seconds: float, cells: int = 0, widest: int = 1) -> None:
        """A pass took so long; the other arguments as of `of_rows`.

        All parameters are scaled together, and each besides by the root of its share u of what was foreseen,
        such that this shape moves by `_STEP` of the surprise; no parameter changes its sign. The root, and
        not u itself, because small parts would take thousands of passes to become large ones.
        """
        learned, parts = self._learned, self._parts(rows, requests, cells, widest)
        foreseen = self.of_rows(rows, requests, cells, widest)
        surprise = max(-_SURPRISE_MAX, min(_SURPRISE_MAX, seconds / foreseen - 1.0))
        own = {index: max(0.0, factor) * learned.seconds[index] / foreseen for index, factor in parts.knots}
        for_requests = parts.requests * learned.per_request / foreseen
        for_cells = parts.cells * learned.per_cell / foreseen
        for_wide = parts.wide * learned.per_wide / foreseen
        shares = (*own.values(), for_requests, for_cells, for_wide)
        gain = _STEP * surprise / (1.0 + sum(u**1.5 for u in shares))
        scaled = [(1.0 + gain) * each for each in learned.seconds]
        for index, u in own.items():
            scaled[index] += gain * u**0.5 * learned.seconds[index]
        learned.seconds = list(accumulate(scaled, max))
        self._forget({index: factor for index, factor in parts.knots if factor > 0})
        learned.per_request *= 1.0 + gain * (1.0 + for_requests**0.5)
        learned.per_cell *= 1.0 + gain * (1.0 + for_cells**0.5)
        learned.per_wide *= 1.0 + gain * (1.0 + for_wide**0.5)
        learned.passes += 1
        self._cells = cells

    def table_seconds(self) -> dict[str, float]:
        """Some passes as they would be now, by their shapes, for people to look at."""
        shapes = [(requests, width) for requests in (1, 4, 16) for width in (1, 8)]
        return {f"{requests} x {width} rows": self.seconds(requests, width) for requests, width in shapes}

    @property
    def passes(self) -> int:
        """How many it was learned from, those of an earlier life included."""
        return self._learned.passes

    def to_dict(self) -> dict[str, Any]:
        """All that was learned, for a file."""
        return asdict(self._learned)

    def resume(self, values: Mapping[str, Any]) -> None:
        """Go on from what an earlier curve with the same knots had learned.

        Where that never measured what the widest costs, as a target alone does not, this one's own stays.

        Raises:
            ValueError: it is damaged, its knots are others, or its least pass takes more than four times as
                long, or less than a quarter.
        """
        found = Learned.read(values)
        if found.rows != self._learned.rows:
            raise ValueError(f"its rows are {found.rows}, not {self._learned.rows}")
        if not 1 / _CHANGE_MAX <= found.seconds[0] / self._learned.seconds[0] <= _CHANGE_MAX:
            raise ValueError("a pass takes another time now")
        found.per_wide = found.per_wide or self._learned.per_wide
        self._learned = found

    def _forget(self, seen: Mapping[int, float]) -> None:
        """Move the knots that no pass had for long towards their measured places beside those seen now."""
        self._unseen = [0 if index in seen else count + 1 for index, count in enumerate(self._unseen)]
        if max(self._unseen) <= _PASSES_KEPT:
            return
        learned, measured = self._learned.seconds, self._measured
        scale = sum(factor * learned[index] for index, factor in seen.items()) / sum(
            factor * measured[index] for index, factor in seen.items()
        )
        relaxed, most = [], inf
        for seconds, known, unseen in reversed(list(zip(learned, measured, self._unseen, strict=True))):
            if unseen <= _PASSES_KEPT:
                most = seconds  # what passes have is not moved by what they have not
                relaxed.append(seconds)
            else:
                change = (scale * known / seconds) ** _FORGOTTEN
                relaxed.append(min(most, seconds * max(1 - _FORGOTTEN_MAX, min(1 + _FORGOTTEN_MAX, change))))
        self._learned.seconds = list(accumulate(reversed(relaxed), max))

    def _parts(self, rows: int, requests: int, cells: int, widest: int) -> _Parts:
        wide = (requests - 1) * cells * (widest - 1) if self.together else 0
        return _Parts(self._knots(self.padded(rows)), requests - 1, requests * cells, wide)

    def _knots(self, rows: int) -> Sequence[tuple[int, float]]:
        """Between which knots so many rows lie, and how near to each."""
        known = self._learned.rows
        if len(known) == 1 or rows <= known[0]:
            return ((0, 1.0),)
        right = min(bisect_left(known, rows), len(known) - 1)
        share = (rows - known[right - 1]) / (known[right] - known[right - 1])
        return ((right - 1, 1.0 - share), (right, share))
