"""The results of a load benchmark as rich tables; a cell that has nothing to say is empty."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from amusd.bench.load.measures import Comparison, Distribution, Measures
from amusd.bench.load.results import JUDGED, LoadResults
from amusd.bench.load.settings import ALONE
from amusd.bench.tables import add_columns, number, show_spread, table_of


def render(results: LoadResults) -> RenderableType:
    """All tables, one below the other, and whether anybody wrote another text."""
    measures = results.measures()
    repeats = results.settings["repeats"]
    parts: list[RenderableType] = [_heading(results)]
    parts += [
        _contenders(rate, [item for item in measures if item.rate == rate], repeats) for rate in results.rates
    ]
    if comparisons := results.comparisons(measures):
        parts.append(_comparisons(comparisons))
    return Group(*parts, _verdict(results, measures))


def _heading(results: LoadResults) -> Text:
    settings, machine = results.settings, results.machine
    flags = ", ".join(machine["cpu_flags"])
    widened = f" widened to {settings['widen']}" if settings["widen"] else ""
    temperatures = " and ".join(f"{value:g}" for value in settings["temperatures"])
    bears = f"; the target alone bears {results.capacity:.2g} requests/s" if results.capacity else ""
    return Text(
        f"{machine['cpu']} ({flags}), target on {settings['target_devices']}, draft on "
        f"{settings['draft_devices']}\n{settings['target']}{widened}, {settings['dtype']}, draft "
        f"{settings['draft']}; at most {settings['max_requests']} requests at a time; up to "
        f"{settings['requests']} requests a run, {settings['arrivals']}, temperature {temperatures}, "
        f"{-(-settings['max_tokens'] // 2)} to {settings['max_tokens']} tokens each; "
        f"{settings['repeats']} repeats{bears}"
    )


def _contenders(rate: float, measures: Sequence[Measures], repeats: int) -> Table:
    table = table_of(f"{rate:g} requests/s offered; times in ms: mean, p50, p99")
    add_columns(table, "contender")
    headers = (
        "goodput,\ntokens/s",
        "over\nalone",
        "latency",
        "first token",
        "per token",
        "in\nflight",
        "verified\n/pass",
        "TAR",
        "finished",
        "exact",
    )
    add_columns(table, *headers, justify="right")
    for item in measures:
        table.add_row(
            item.contender,
            show_spread(item.goodput, 1, repeats),
            show_spread(item.over_alone, 2, repeats),
            _milliseconds(item.latency, 0),
            _milliseconds(item.first_token, 0),
            _milliseconds(item.per_token, 1),
            f"{item.in_flight:.1f}",
            f"{item.verified:.2f}",
            number(item.accepted, 2),
            _share(item.finished, item.offered),
            _exact(item),
            style="bold" if item.contender == JUDGED else "",
        )
    return table


def _comparisons(comparisons: Sequence[Comparison]) -> Table:
    table = table_of(f"{JUDGED} over the best of the others, a ratio; above 1 it is better")
    add_columns(table, "requests/s", "goodput", "of", "mean latency", "of")
    for item in comparisons:
        cells = f"{item.goodput:.2f}", item.goodput_of, f"{item.latency:.2f}", item.latency_of
        table.add_row(f"{item.rate:g}", *cells)
    return table


def _verdict(results: LoadResults, measures: Sequence[Measures]) -> Text:
    if different := results.different():
        return Text(f"DIFFERENT TEXT from the target alone: {', '.join(different)}", style="bold red")
    if not results.exact:
        return Text("the self-check found no passes that agree bit for bit here: texts may differ")
    compared = sum(item.finished for item in measures)
    text = f"all {compared} answers are those of {ALONE}, one request at a time"
    return Text(text, style="green")


def _milliseconds(value: Distribution | None, digits: int) -> str:
    if value is None:
        return ""
    return "  ".join(f"{1000 * seconds:.{digits}f}" for seconds in (value.mean, value.p50, value.p99))


def _share(part: int, whole: int) -> str:
    return "all" if part == whole else f"{part} of {whole}"


def _exact(item: Measures) -> str:
    shown = _share(item.exact, item.finished)
    return shown if item.exact == item.finished else f"[red]DIFFERS: {shown}[/red]"
