"""`amusd simulate`: a scenario run on a virtual clock, as a table, JSON, CSV and pictures."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from amusd.errors import InputError
from amusd.simulation import Run, Scenario, load_scenario, shipped_scenarios, simulate
from amusd.simulation.clock import NS_PER_MS
from amusd.simulation.pictures import draw_sweep, draw_timeline
from amusd.simulation.scenario import parse_value
from amusd.simulation.sweep import Axis, Point, parse_axis, parse_setting, sweep, write_csv
from amusd.tracing import chrome_trace

TIMELINE_PASSES = 24
DEFAULT = "two-cores"
REPEATS, REPEATS_MAX = 3, 1000
_COLUMNS = (
    ("tokens/s", "tokens_per_second", "{:.1f}"),
    ("+-", "tokens_per_second_sd", "{:.1f}"),
    ("speedup", "speedup", "{:.2f}"),
    ("per pass", "tokens_per_pass", "{:.2f}"),
    ("TAR", "acceptance_rate", "{:.2f}"),
    ("busy", "target_busy", "{:.2f}"),
    ("foreseen", "foreseen_corrections", "{:.2f}"),
)


def list_scenarios() -> None:
    """Print the scenarios that come with the package."""
    for name in shipped_scenarios():
        print(f"{name}: {load_scenario(name).description}")


def run(
    name: str | None,
    *,
    seed: int | None,
    settings: Sequence[str],
    axes: Sequence[str],
    repeats: int | None,
    folder: Path | None,
    as_json: bool,
) -> None:
    """Run a scenario, or a sweep of it, and show what came out.

    Raises:
        InputError: an option, the scenario or something in it cannot be.
        AmusdError: a run went wrong, or matplotlib is missing.
    """
    repeats = REPEATS if repeats is None else repeats
    if not 1 <= repeats <= REPEATS_MAX:
        raise InputError("--repeats", repeats, f"give a whole number from 1 to {REPEATS_MAX}")
    scenario = changed(load_scenario(DEFAULT if name is None else name), seed, settings)
    chosen = [parse_axis(text) for text in axes]
    if folder is not None:
        make_folder(folder)
    with progress_bar() as progress:
        task = progress.add_task(scenario.name, total=1.0)
        points = sweep(scenario, chosen, repeats, lambda share: progress.update(task, completed=share))
    if folder is not None:
        _write(folder, scenario, chosen, points)
    if as_json:
        print(json.dumps(_as_object(scenario, chosen, points)))
    else:
        _print_table(scenario, chosen, points, repeats)


def changed(scenario: Scenario, seed: int | None, settings: Sequence[str]) -> Scenario:
    """The scenario with what the command line says, checked when all of it is there."""
    changes = {
        path: parse_value(value) for path, value in (parse_setting(text, "--set") for text in settings)
    }
    return scenario.with_values(changes if seed is None else changes | {"seed": seed})


def make_folder(folder: Path) -> None:
    """Make it, and those above it, unless it is there.

    Raises:
        InputError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError("--out", str(folder), f"is no folder that can be written to: {error}") from None


def progress_bar() -> Progress:
    """How much is done, on the error stream."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )


def _write(folder: Path, scenario: Scenario, axes: Sequence[Axis], points: Sequence[Point]) -> None:
    """Leave everything in a folder: numbers, pictures, and the scenario that makes them again."""
    (folder / "scenario.json").write_text(scenario.model_dump_json(indent=2), encoding="utf-8")
    (folder / "result.json").write_text(json.dumps(_as_object(scenario, axes, points)), encoding="utf-8")
    write_csv(folder / "result.csv", axes, points)
    if axes:
        draw_sweep(folder / "sweep.png", scenario.name, axes, points)
    else:
        _write_timeline(folder, scenario, simulate(scenario))


def _write_timeline(folder: Path, scenario: Scenario, over: Run) -> None:
    """Some passes from the middle of the run as a picture, all of it for Perfetto."""
    (folder / "run.trace.json").write_text(json.dumps(chrome_trace(over.tracks)), encoding="utf-8")
    passes = over.tracks[-1].slices("pass")
    middle = max(0, (len(passes) - TIMELINE_PASSES) // 2)
    shown = passes[middle : middle + TIMELINE_PASSES]
    draw_timeline(
        folder / "timeline.png",
        f"{scenario.name}, {scenario.mode}, seed {scenario.seed}",
        over.tracks,
        shown[0].start_ns / NS_PER_MS,
        shown[-1].end_ns / NS_PER_MS,
    )


def _as_object(scenario: Scenario, axes: Sequence[Axis], points: Sequence[Point]) -> dict[str, Any]:
    return {
        "scenario": scenario.model_dump(mode="json"),
        "axes": {axis.path: list(axis.values) for axis in axes},
        "points": [point.to_dict(axes) for point in points],
    }


def _print_table(scenario: Scenario, axes: Sequence[Axis], points: Sequence[Point], repeats: int) -> None:
    """The numbers that matter most; JSON and CSV have the rest."""
    last = scenario.seed + repeats - 1
    seeds = f"seed {scenario.seed}" if repeats == 1 else f"seeds {scenario.seed} to {last}"
    console = Console(highlight=False)
    console.print(f"{scenario.name}: {scenario.description}", soft_wrap=True)
    table = Table(box=None, pad_edge=False)
    for axis in axes:
        table.add_column(axis.path.rpartition(".")[2])
    for heading, *_ in _COLUMNS:
        table.add_column(heading, justify="right")
    for point in points:
        values = point.to_dict(axes)
        table.add_row(
            *(str(value) for value in point.values),
            *(shape.format(values[name]) for _, name, shape in _COLUMNS),
        )
    console.print(table)
    console.print(f"virtual time, {seeds}; speedup over the target alone", style="dim")
