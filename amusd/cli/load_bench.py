"""`amusd bench --load`: runs the contenders under load, prints the tables, writes the files."""

import os
from pathlib import Path

from amusd.bench.load.charts import write_charts
from amusd.bench.load.experiment import run_load
from amusd.bench.load.experiment import run_profile as measure_profile
from amusd.bench.load.results import LoadResults, read_load_results
from amusd.bench.load.settings import TABLE_FILE, LoadSettings
from amusd.bench.load.tables import policy_table, render
from amusd.cli.bench import ProgressBar, make_console, prepare_folder
from amusd.workers.cost_files import OFF, VARIABLE

RESULTS_FILE = "load.json"


def run(settings: LoadSettings) -> int:
    """Run the benchmark; the exit code is 1 where an answer was not that of the target alone.

    What was measured is written after each repeat.
    """
    prepare_folder(settings.out)
    os.environ.setdefault(VARIABLE, OFF)  # no run learns from another
    with ProgressBar() as progress:
        results = run_load(settings, progress, lambda sofar: sofar.write(settings.out / RESULTS_FILE))
    return _show(results, settings.out / RESULTS_FILE)


def run_profile(settings: LoadSettings) -> int:
    """Measure the table of the policy `table`, show it and write it."""
    prepare_folder(settings.out)
    os.environ.setdefault(VARIABLE, OFF)
    with ProgressBar() as progress:
        table = measure_profile(settings, progress)
    file = settings.out / TABLE_FILE
    table.write(file)
    console = make_console()
    console.print(policy_table(table))
    console.print(f"\nwritten: {file}; amusd serve --policy table --policy-table takes it")
    return 0


def show_again(file: Path) -> int:
    """Make tables and pictures of an earlier run's JSON again, beside it."""
    return _show(read_load_results(file), file)


def _show(results: LoadResults, file: Path) -> int:
    results.write(file)
    written = [file, *write_charts(results, file.parent)]
    console = make_console()
    console.print(render(results))
    console.print(f"\nin {results.seconds:.0f} s; written: {', '.join(map(str, written))}")
    return 1 if results.different() else 0
