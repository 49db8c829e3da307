"""Cost curves: what one forward takes, by its rows, its requests and the length that it attends to.

Laws:

- Between measured points a cost is a straight line; below the first it is the first.
- Above the last point it goes on along the last line, and never falls.
- A curve that was measured for one batch size only is taken as memory-bound: B requests of W rows cost
  what one request of B * W rows costs.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Text = Annotated[str, Field(pattern=r"\S")]


class CostPoint(BaseModel):
    """One measurement.

    Attributes:
        rows: rows of each request in the forward.
        ms: milliseconds that it took.
        batch: requests in it.
        length: positions that it attended to; 0 where that was not looked at.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    rows: Annotated[int, Field(ge=1)]
    ms: Annotated[float, Field(gt=0)]
    batch: Annotated[int, Field(ge=1)] = 1
    length: Annotated[int, Field(ge=0)] = 0


class CostCurve(BaseModel):
    """Milliseconds of a forward.

    Attributes:
        source: where the numbers come from: measured (where, how), published (where), or derived (how).
        points: the measurements.
        rows_step: the rows of a request are padded to a multiple of this.
        jitter: standard deviation of what a forward takes over what the curve says.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    source: Text
    points: list[CostPoint] = Field(min_length=1)
    rows_step: int = Field(1, ge=1)
    jitter: float = Field(0.0, ge=0, le=1)

    def ms(self, rows: int, batch: int = 1, length: int = 0) -> float:
        """What a forward of `batch` requests with `rows` rows each takes."""
        padded = -(-rows // self.rows_step) * self.rows_step
        if len({point.batch for point in self.points}) == 1:
            return _by_length(self.points, batch * padded, length)
        return _blend(
            self.points, lambda point: point.batch, batch, lambda group: _by_length(group, padded, length)
        )

    def forward_ms(self, widths: Sequence[int], lengths: Sequence[int]) -> float:
        """What a forward takes; rows of each request, and positions that each attends to."""
        return self.ms(max(widths), len(widths), max(lengths))

    def scaled(self, factor: float) -> "CostCurve":
        """The same curve, every cost times `factor`."""
        points = [point.model_copy(update={"ms": point.ms * factor}) for point in self.points]
        return self.model_copy(update={"points": points, "source": f"{self.source}; times {factor:.4g}"})


def _by_length(points: Sequence[CostPoint], rows: int, length: int) -> float:
    return _blend(
        points,
        lambda point: point.length,
        length,
        lambda group: interpolate([(point.rows, point.ms) for point in group], rows),
    )


def _blend(
    points: Sequence[CostPoint],
    key: Callable[[CostPoint], int],
    at: int,
    cost: Callable[[list[CostPoint]], float],
) -> float:
    """Interpolate over one coordinate between the costs of the groups that share a value of it."""
    values = sorted({key(point) for point in points})
    return interpolate(
        [(value, cost([point for point in points if key(point) == value])) for value in values], at
    )


def interpolate(points: Iterable[tuple[float, float]], at: float) -> float:
    """Linear between points, constant below the first, along the last line above the last if it rises."""
    known = sorted(points)
    if at <= known[0][0]:
        return known[0][1]
    for (left, low), (right, high) in pairwise(known):
        if at <= right:
            return low + (high - low) * (at - left) / (right - left)
    if len(known) == 1:
        return known[0][1]
    (left, low), (right, high) = known[-2:]
    return high + max(0.0, high - low) / (right - left) * (at - right)
