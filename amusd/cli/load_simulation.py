"""`amusd simulate --load`: a scenario under load on a virtual clock, as tables, JSON and charts."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from amusd.cli.simulation import changed, make_folder, progress_bar
from amusd.errors import InputError
from amusd.simulation import load_scenario
from amusd.simulation.clock import MS_PER_SECOND
from amusd.simulation.load.charts import write_charts
from amusd.simulation.load.contenders import ALONE, JUDGED
from amusd.simulation.load.experiment import LoadResult, Verdict, run_load

DEFAULT = "load-70b-1b"
RESULT_FILE = "load.json"


def refuse(options: Mapping[str, object]) -> None:
    """Raise an InputError for an option, by its name, that was given and means nothing here."""
    for name, value in options.items():
        if value is not None:
            raise InputError(
                name, value, "--load sweeps batches and rates with one seed; drop one of the two"
            )


def run(
    name: str | None, *, seed: int | None, settings: Sequence[str], folder: Path | None, as_json: bool
) -> None:
    """Run a scenario under load and show what came out.

    Raises:
        InputError: an option, the scenario or something in it cannot be.
        AmusdError: a run went wrong, or matplotlib is missing.
    """
    scenario = changed(load_scenario(DEFAULT if name is None else name), seed, settings)
    if folder is not None:
        make_folder(folder)
    with progress_bar() as progress:
        task = progress.add_task(scenario.name, total=1.0)
        result = run_load(scenario, lambda share: progress.update(task, completed=share))
    if folder is not None:
        (folder / RESULT_FILE).write_text(json.dumps(result.to_dict(), indent=1), encoding="utf-8")
        write_charts(result, folder)
    if as_json:
        print(json.dumps(result.to_dict()))
    else:
        _print(result)


def _print(result: LoadResult) -> None:
    scenario = result.scenario
    console = Console(highlight=False)
    console.print(f"{scenario.name}: {scenario.description}", soft_wrap=True)
    alone = {item.requests: item.tokens_per_second for item in result.batches if item.contender == ALONE}
    rates = {(item.requests, item.contender): item.tokens_per_second for item in result.batches}

    def speedup(at: float, contender: str) -> str:
        rate = rates[int(at), contender]
        return f"{rate:.0f}" if contender == ALONE else f"{rate / alone[int(at)]:.2f}"

    title = f"Batches that stay full: tokens/s {ALONE}, the others over that"
    console.print(_table(title, "requests", result, result.batch_verdicts(), speedup))
    offered = {(item.rate, item.contender): item for item in result.offered}

    def goodput(at: float, contender: str) -> str:
        return f"{offered[at, contender].goodput:.0f}"

    def latency(at: float, contender: str) -> str:
        return f"{MS_PER_SECOND * offered[at, contender].latency:.0f}"

    said = f"Requests that arrive by themselves, {ALONE} bears {result.capacity:.3g} a second"
    verdicts = result.rate_verdicts()
    console.print(_table(f"{said}: goodput, tokens/s", "requests/s", result, verdicts, goodput, judges=False))
    console.print(_table("The same: mean latency, ms", "requests/s", result, verdicts, latency))
    if result.table is not None:
        chosen = ", ".join(f"{k} for {requests}" for requests, k in result.table.items())
        console.print(f"table, drafted tokens for so many requests: {chosen}", soft_wrap=True)
    console.print(
        f"virtual time, seed {scenario.seed}; best: the best fixed number of drafted tokens, 0 is {ALONE}; "
        f"of best: {JUDGED} over it",
        style="dim",
        soft_wrap=True,
    )


def _table(
    title: str,
    heading: str,
    result: LoadResult,
    verdicts: Sequence[Verdict],
    cell: Callable[[float, str], str],
    *,
    judges: bool = True,
) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    headings = [heading, *(contender.key.replace(" ", "\n") for contender in result.contenders)]
    for each in [*headings, "best\nk", "of\nbest"] if judges else headings:
        table.add_column(each, justify="right")
    for verdict in verdicts:
        cells = [f"{verdict.at:g}", *(cell(verdict.at, contender.key) for contender in result.contenders)]
        table.add_row(*cells, *([str(verdict.best_k), f"{verdict.judged:.2f}"] if judges else ()))
    return table
