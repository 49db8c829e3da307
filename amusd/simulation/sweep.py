"""Many runs: every combination of the values of up to two parameters, each with several seeds."""

import csv
import itertools
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from amusd.errors import InputError
from amusd.simulation.scenario import Scenario, parse_value
from amusd.simulation.world import simulate

AXES_MAX: Final = 2  # what a picture can show


@dataclass(frozen=True, slots=True)
class Axis:
    """One parameter and its values.

    Attributes:
        path: of the parameter in a scenario, such as `network.latency_ms`.
    """

    path: str
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Point:
    """The runs of one combination.

    Attributes:
        values: of each axis.
        means: of every number of a result, over the seeds.
        spread: standard deviation of tokens per second over the seeds; 0 for one seed.
        alone_tokens_per_second: of the same target without any draft.
    """

    values: tuple[Any, ...]
    means: dict[str, float]
    spread: float
    alone_tokens_per_second: float

    @property
    def tokens_per_second(self) -> float:
        """Mean over the seeds."""
        return self.means["tokens_per_second"]

    @property
    def speedup(self) -> float:
        """Over the target alone."""
        return self.tokens_per_second / self.alone_tokens_per_second

    def to_dict(self, axes: Sequence[Axis]) -> dict[str, Any]:
        """Plain values by name, those of the axes first."""
        return {
            **{axis.path: value for axis, value in zip(axes, self.values, strict=True)},
            **self.means,
            "tokens_per_second_sd": self.spread,
            "alone_tokens_per_second": self.alone_tokens_per_second,
            "speedup": self.speedup,
        }


def parse_setting(text: str, option: str) -> tuple[str, str]:
    """Split `NAME=VALUE`.

    Raises:
        InputError: it is not of that form.
    """
    path, equals, value = text.partition("=")
    if not (path and equals and value):
        raise InputError(option, text, "give NAME=VALUE, such as network.latency_ms=2")
    return path, value


def parse_axis(text: str) -> Axis:
    """Read `NAME=VALUE,VALUE,...`.

    Raises:
        InputError: it is not of that form.
    """
    path, values = parse_setting(text, "--sweep")
    return Axis(path, tuple(parse_value(value) for value in values.split(",")))


def sweep(
    scenario: Scenario,
    axes: Sequence[Axis],
    repeats: int,
    on_progress: Callable[[float], None],
) -> list[Point]:
    """Run every combination with the seeds `seed`, `seed + 1`, ...

    Args:
        axes: none is one point.
        repeats: seeds per point.
        on_progress: called with the share that is done.

    Raises:
        InputError: an axis names no parameter or a value that cannot be; before anything runs.
        SimulationError: see `simulate`.
    """
    if len(axes) > AXES_MAX:
        paths = ", ".join(axis.path for axis in axes)
        raise InputError("--sweep", paths, f"sweep over at most {AXES_MAX} parameters at a time")
    grid = [
        (values, scenario.with_values(dict(zip((axis.path for axis in axes), values, strict=True))))
        for values in itertools.product(*(axis.values for axis in axes))
    ]
    points = []
    for done, (values, each) in enumerate(grid):

        def tell(share: float, done: int = done) -> None:
            on_progress((done + share) / len(grid))

        points.append(_run_point(values, each, repeats, tell))
    return points


def write_csv(path: Path, axes: Sequence[Axis], points: Sequence[Point]) -> None:
    """Write one row per point under the names of the numbers."""
    rows = [point.to_dict(axes) for point in points]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _run_point(
    values: tuple[Any, ...], scenario: Scenario, repeats: int, on_progress: Callable[[float], None]
) -> Point:
    results = []
    for repeat in range(repeats):
        results.append(simulate(scenario.with_value("seed", scenario.seed + repeat)).result)
        on_progress((repeat + 1) / repeats)
    rates = [result.tokens_per_second for result in results]
    names = results[0].to_dict()
    return Point(
        values,
        {name: statistics.fmean(getattr(result, name) for result in results) for name in names},
        statistics.stdev(rates) if repeats > 1 else 0.0,
        simulate(scenario.with_value("mode", "alone")).result.tokens_per_second,
    )
