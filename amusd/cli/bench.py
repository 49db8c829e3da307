"""`amusd bench`: runs the contenders, shows progress between runs, prints the tables, writes the files."""

import json
import os
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from amusd.bench.charts import save, write_charts
from amusd.bench.experiment import Outcome, run_experiment
from amusd.bench.results import Results, read_results
from amusd.bench.settings import BenchSettings
from amusd.bench.summary import summarize
from amusd.bench.tables import render
from amusd.bench.timeline import timeline
from amusd.bench.traces import read_trace
from amusd.errors import InputError
from amusd.workers.cost_files import OFF, VARIABLE

RESULTS_FILE, TRACE_FILE, TIMELINE_FILE = "results.json", "async.trace.json", "timeline.png"
WIDTH_PIPED = 200  # columns of tables that go to a file or a pipe


def run(settings: BenchSettings) -> int:
    """Run the benchmark; the exit code is 1 where a contender of ours wrote another text.

    What was measured is written after each repeat.
    """
    prepare_folder(settings.out)
    os.environ.setdefault(VARIABLE, OFF)  # no run learns from another
    with ProgressBar() as progress:
        outcome = run_experiment(
            settings, progress, lambda sofar: sofar.write(settings.out / RESULTS_FILE, {})
        )
    return _show(outcome, settings.out)


def show_again(file: Path) -> int:
    """Make tables and pictures of an earlier run's JSON again, beside it."""
    results = read_results(file)
    trace_file = file.parent / TRACE_FILE
    trace = json.loads(trace_file.read_text(encoding="utf-8")) if trace_file.exists() else None
    return _show(Outcome(results, trace), file.parent)


def prepare_folder(folder: Path) -> None:
    """Make the folder of the results.

    Raises:
        InputError: it cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        remedy = f"cannot be written to ({error.strerror}); choose another folder"
        raise InputError("--out", str(folder), remedy) from None


def _show(outcome: Outcome, folder: Path) -> int:
    summary = summarize(outcome.results)
    outcome.results.write(folder / RESULTS_FILE, {"summary": summary.to_dict()})
    written = [folder / RESULTS_FILE, *write_charts(outcome.results, summary, folder)]
    if outcome.trace is not None:
        (folder / TRACE_FILE).write_text(json.dumps(outcome.trace), encoding="utf-8")
        save(timeline(read_trace(outcome.trace), _title(outcome.results)), folder / TIMELINE_FILE)
        written += [folder / TRACE_FILE, folder / TIMELINE_FILE]
    console = make_console()
    console.print(render(outcome.results, summary))
    console.print(f"\nin {outcome.results.seconds:.0f} s; written: {', '.join(map(str, written))}")
    return 1 if summary.differing else 0


def make_console() -> Console:
    """Where tables are printed."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH_PIPED)


def _title(results: Results) -> str:
    settings = results.settings
    widened = f" widened to {settings['widen']}" if settings["widen"] else ""
    return (
        f"async: {settings['target']}{widened} on {settings['target_devices']} below, "
        f"its draft on {settings['draft_devices']} above"
    )


class ProgressBar:
    """A bar in a terminal, lines elsewhere; redrawn between runs only, so that it takes no time from them."""

    def __init__(self) -> None:
        self._bar = Progress(
            TextColumn("{task.description:<30}"),
            BarColumn(24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[run]}"),
            console=Console(stderr=True),
            auto_refresh=False,
            transient=True,
        )
        self._is_terminal = sys.stderr.isatty()
        self._started = time.monotonic()

    def begin(self, phase: str, steps: int) -> None:
        """A phase of so many runs begins."""
        if self._is_terminal:
            for task in self._bar.task_ids:
                self._bar.remove_task(task)
            self._bar.add_task(phase, total=steps, completed=-1, run="")
        else:
            self._say(f"{phase}: {steps} steps")

    def step(self, text: str) -> None:
        """The next run begins."""
        if self._is_terminal:
            self._bar.update(self._bar.task_ids[0], advance=1, run=text, refresh=True)
        else:
            self._say(f"  {text}")

    def _say(self, text: str) -> None:
        print(f"{time.monotonic() - self._started:6.0f} s  {text}", file=sys.stderr, flush=True)

    def __enter__(self) -> Self:
        if self._is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_terminal:
            self._bar.stop()
