"""The results of a load benchmark as rich tables; a cell that has nothing to say is empty."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from amusd.bench.load.measures import Comparison, Distribution, HeldMeasures, Measures
from amusd.bench.load.results import JUDGED, LoadResults
from amusd.bench.load.settings import ALONE, TABLE
from amusd.bench.statistics import Spread
from amusd.bench.tables import add_columns, number, table_of
from amusd.policies.table import SpeculationTable


def render(results: LoadResults) -> RenderableType:
    """All tables, one below the other, and whether anybody of ours wrote another text."""
    measures = results.measures()
    repeats = results.settings["repeats"]
    parts: list[RenderableType] = [_heading(results)]
    if results.table is not None:
        parts.append(policy_table(results.table))
    parts += [
        _speeds(rate, [item for item in measures if item.rate == rate], repeats) for rate in results.rates
    ]
    parts.append(_passes(results, measures))
    if held := results.held_measures():
        parts.append(_held(held, (ALONE, *results.rivals), repeats))
    if comparisons := results.comparisons(measures):
        parts.append(_comparisons(comparisons))
    return Group(*parts, _verdict(results, measures))


def policy_table(table: SpeculationTable) -> Table:
    """What was measured for the policy `table`, and what it chose."""
    shown = table_of(f"{TABLE}: tokens/s when profiled")
    ks = sorted({k for row in table.tokens_per_second.values() for k in row})
    add_columns(shown, "live", "takes", *(f"k={k}" for k in ks), justify="right")
    for requests, taken in sorted(table.k_by_requests.items()):
        row = table.tokens_per_second.get(requests, {})
        shown.add_row(str(requests), str(taken), *(number(row.get(k), 1) for k in ks))
    return shown


def _heading(results: LoadResults) -> Text:
    settings, machine = results.settings, results.machine
    flags = ", ".join(machine["cpu_flags"])
    widened = f" widened to {settings['widen']}" if settings["widen"] else ""
    temperatures = " and ".join(f"{value:g}" for value in settings["temperatures"])
    bears = f"; the target alone bears {results.capacity:.2g} requests/s" if results.capacity else ""
    return Text(
        f"{machine['cpu']} ({flags}), target on {settings['target_devices']}, draft on "
        f"{settings['draft_devices']}\n{settings['target']}{widened}, {settings['dtype']}, draft "
        f"{results.drafts}; at most {settings['max_requests']} requests at a time; up to "
        f"{settings['requests']} requests a run, {settings['arrivals']}, temperature {temperatures}, "
        f"{-(-settings['max_tokens'] // 2)} to {settings['max_tokens']} tokens each; "
        f"{settings['repeats']} repeats{bears}"
    )


def _speeds(rate: float, measures: Sequence[Measures], repeats: int) -> Table:
    table = table_of(f"{rate:g} requests/s offered; times in ms: mean, p50, p99")
    add_columns(table, "contender")
    headers = "goodput,\ntokens/s", "over\nalone", "latency", "first token", "per token"
    add_columns(table, *headers, justify="right")
    for item in measures:
        table.add_row(
            item.contender,
            _spread(item.goodput, 1, repeats),
            _spread(item.over_alone, 2, repeats),
            _milliseconds(item.latency, 0),
            _milliseconds(item.first_token, 0),
            _milliseconds(item.per_token, 1),
            style=_style(item.contender),
        )
    return table


def _passes(results: LoadResults, measures: Sequence[Measures]) -> Table:
    kinds = list(dict.fromkeys(prompt.kind for prompt in results.prompts))
    table = table_of("what the passes did; tokens/pass by the kind of the prompt")
    add_columns(table, "contender")
    headers = "requests/s", "in\nflight", "verified\n/pass", "TAR", *kinds, "finished", "exact"
    add_columns(table, *headers, justify="right")
    for item in measures:
        speculates = item.accepted is not None
        table.add_row(
            item.contender,
            f"{item.rate:g}",
            f"{item.in_flight:.1f}",
            f"{item.verified:.2f}" if speculates else "",
            number(item.accepted, 2),
            *(number(item.tokens_per_pass.get(kind), 2) if speculates else "" for kind in kinds),
            _share(item.finished, item.offered),
            _exact(item, item.contender in results.rivals),
            style=_style(item.contender),
            end_section=item.contender == measures[-1].contender,
        )
    return table


def _held(measures: Sequence[HeldMeasures], over: Sequence[str], repeats: int) -> Table:
    table = table_of("so many requests live at all times")
    add_columns(table, "contender")
    headers = "live", "tokens/s", *(f"over\n{other}" for other in over)
    add_columns(table, *headers, justify="right")
    for item in measures:
        table.add_row(
            item.contender,
            str(item.live),
            _spread(item.tokens_per_second, 1, repeats),
            *(_spread(item.over.get(other), 2, repeats) for other in over),
            style=_style(item.contender),
            end_section=item.contender == measures[-1].contender,
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
    ours = [item for item in measures if item.contender not in results.rivals]
    compared = sum(item.finished for item in ours) + sum(run.answers for run in results.held)
    text = f"all {compared} answers of amusd are those of {ALONE}, one request at a time"
    return Text(text, style="green")


def _style(contender: str) -> str:
    return "bold" if contender == JUDGED else ""


def _spread(value: Spread | None, digits: int, repeats: int) -> str:
    """The median, and the range where there are several repeats; shorter than elsewhere."""
    if value is None:
        return ""
    median, low, high = (f"{each:.{digits}f}" for each in (value.median, value.low, value.high))
    return median if repeats == 1 else f"{median}  {low}-{high}"


def _milliseconds(value: Distribution | None, digits: int) -> str:
    if value is None:
        return ""
    return " ".join(f"{1000 * seconds:.{digits}f}" for seconds in (value.mean, value.p50, value.p99))


def _share(part: int, whole: int) -> str:
    return "all" if part == whole else f"{part} of {whole}"


def _exact(item: Measures, is_rival: bool) -> str:
    """Of a rival a fact about its greedy answers, of ours a judgement."""
    if not item.compared:
        return ""
    if is_rival:
        return f"{item.exact} of {item.compared}"
    shown = _share(item.exact, item.compared)
    return shown if item.exact == item.compared else f"[red]DIFFERS: {shown}[/red]"
