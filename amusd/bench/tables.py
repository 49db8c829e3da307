"""The results as rich tables; a cell that has nothing to say is empty."""

from typing import Any, Final

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from amusd.bench.contenders import BY_KEY
from amusd.bench.results import Results
from amusd.bench.statistics import Spread
from amusd.bench.summary import Row, Summary

_NEEDS_TWO_REPEATS: Final = 2


def render(results: Results, summary: Summary) -> RenderableType:
    """All tables, one below the other, and what was not run or went wrong."""
    parts: list[RenderableType] = [_heading(results, summary)]
    for temperature in summary.temperatures:
        parts.append(_contenders(results, summary, temperature))
    parts += [_comparisons(summary), _kinds(results, summary), _sweep(summary), _drafts(summary)]
    parts += [Text(f"{name}: not run: {reason}", style="dim") for name, reason in results.excluded.items()]
    parts.append(_verdict(results, summary))
    return Group(*parts)


def _heading(results: Results, summary: Summary) -> Text:
    settings, machine = results.settings, results.machine
    flags = ", ".join(machine["cpu_flags"])
    widened = f" widened to {settings['widen']}" if settings["widen"] else ""
    return Text(
        f"{machine['cpu']} ({flags}), target on {settings['target_devices']}, draft on "
        f"{settings['draft_devices']}\n{settings['target']}{widened}, {settings['dtype']}; "
        f"{settings['num_prompts']} prompts, {settings['max_tokens']} tokens each, one at a time; medians "
        f"(least to greatest) of {summary.repeats} repeats"
    )


def _contenders(results: Results, summary: Summary, temperature: float) -> Table:
    rows = [row for row in summary.rows if row.temperature == temperature]
    has_energy = any(row.joules_per_token is not None for row in rows)
    has_share = any(row.share is not None for row in rows)
    table = table_of(f"temperature {temperature:g}: each contender with its best draft")
    add_columns(table, "contender", "devices", "draft", "k")
    add_columns(
        table,
        "tokens/s",
        "decode\ntokens/s",
        "first\nms",
        "TAR",
        "tokens\n/pass",
        "over transformers,\nsame target devices",
        "over transformers,\nequal total devices",
        *(["share of\nbound"] if has_share else []),
        "same\ntext",
        *(["J\n/token"] if has_energy else []),
        justify="right",
    )
    for row in rows:
        cells = [
            escape(row.contender),
            _devices(results, row),
            row.variant.draft or "",
            _k(row),
            show_spread(row.tokens_per_second, 1, summary.repeats),
            f"{row.decode_tokens_per_second.median:.1f}",
            f"{row.first_ms:.0f}",
            number(row.acceptance_rate, 2),
            f"{row.tokens_per_pass:.2f}",
            show_spread(row.over_same, 2, summary.repeats),
            show_spread(row.over_equal, 2, summary.repeats),
            *([_percent(row.share)] if has_share else []),
            _same_text(row),
            *([number(row.joules_per_token, 2)] if has_energy else []),
        ]
        table.add_row(*cells, style="bold" if row.contender == "async" else "")
    _add_bounds(table, summary, temperature, has_share)
    return table


def _add_bounds(table: Table, summary: Summary, temperature: float, has_share: bool) -> None:
    """What is possible, below the contenders: as decode tokens/s, in that column."""
    rows = [row for row in summary.bounds if row.temperature == temperature]
    if rows:
        table.add_section()
    limit = max((row.bound.tokens_per_second for row in rows), default=0.0)
    for row in rows:
        k = str(row.bound.k) if row.bound.k else ""
        share = [_percent(row.bound.tokens_per_second / limit)] if has_share else []
        cells = [f"bound: {row.name}", "", row.draft or "", k, "", f"{row.bound.tokens_per_second:.1f}"]
        table.add_row(*cells, "", "", "", "", "", *share, style="dim")


def _comparisons(summary: Summary) -> Table:
    table = table_of("ratios, paired by repeat")
    add_columns(table, "what")
    add_columns(table, *(f"temperature {t:g}" for t in summary.temperatures), justify="right")
    for text in dict.fromkeys(item.text for item in summary.comparisons):
        cells = []
        for temperature in summary.temperatures:
            found = [i for i in summary.comparisons if (i.text, i.temperature) == (text, temperature)]
            cells.append(show_spread(found[0].ratio, 2, summary.repeats) if found else "")
        table.add_row(text, *cells)
    return table


def _kinds(results: Results, summary: Summary) -> Table:
    """Tokens/s by kind of prompt."""
    kinds = list(dict.fromkeys(p.kind for p in results.prompts[: results.settings["num_prompts"]]))
    table = table_of("tokens/s by kind of prompt")
    add_columns(table, "contender")
    labels = [f"{kind}\nT={t:g}" for t in summary.temperatures for kind in kinds]
    add_columns(table, *labels, justify="right")
    for key in dict.fromkeys(row.contender for row in summary.rows):
        cells = []
        for temperature in summary.temperatures:
            by_kind = {
                kind: speed
                for row in summary.rows
                if (row.contender, row.temperature) == (key, temperature)
                for kind, speed in row.by_kind.items()
            }
            cells += [number(by_kind.get(kind), 1) for kind in kinds]
        table.add_row(escape(key), *cells)
    return table


def _sweep(summary: Summary) -> Table:
    table = table_of("every draft")
    add_columns(table, "temperature", "contender", "draft", "k")
    headers = (
        "tokens/s",
        "TAR",
        "tokens/pass",
        "overlap",
        "foreseen\ncorrections",
        "over alone,\nsame target devices",
    )
    add_columns(table, *headers, justify="right")
    for row in summary.sweep:
        table.add_row(
            f"{row.temperature:g}",
            escape(row.contender),
            row.variant.draft or "",
            _k(row),
            show_spread(row.tokens_per_second, 1, summary.repeats),
            number(row.acceptance_rate, 2),
            f"{row.tokens_per_pass:.2f}",
            number(row.overlap, 2),
            number(row.foreseen, 2),
            show_spread(row.over_alone, 2, summary.repeats),
        )
    return table


def _drafts(summary: Summary) -> Table:
    table = table_of("the drafts, on the target's own text")
    add_columns(table, "temperature", "draft")
    add_columns(table, "step, ms", "alpha", justify="right")
    counts = list(dict.fromkeys(count for row in summary.drafts for count in row.hit_rates))
    add_columns(table, *(f"hit of {count}" for count in counts), justify="right")
    for row in summary.drafts:
        hits = [f"{row.hit_rates[count]:.3f}" for count in counts]
        table.add_row(f"{row.temperature:g}", row.draft, number(row.step_ms, 2), f"{row.alpha:.3f}", *hits)
    return table


def _verdict(results: Results, summary: Summary) -> Text:
    if not results.references:
        return Text("none of our contenders ran: nothing to compare texts with", style="dim")
    if summary.differing:
        names = ", ".join(sorted({row.variant.key for row in summary.differing}))
        return Text(f"DIFFERENT TEXT from {results.reference}: {names}", style="bold red")
    if not results.exact:
        return Text("the self-check found no passes that agree bit for bit here: texts may differ")
    return Text(f"ours wrote the token ids of {results.reference} in every mode and repeat", style="green")


# -- cells ---------------------------------------------------------------------------------------


def table_of(title: str) -> Table:
    """An empty table."""
    return Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)


def add_columns(table: Table, *headers: str, **options: Any) -> None:
    """Columns with the same options."""
    for header in headers:
        table.add_column(header, **options)


def _devices(results: Results, row: Row) -> str:
    target, draft = str(results.settings["target_devices"]), str(results.settings["draft_devices"])
    places = {"target": target, "all": f"{target}+{draft}", "both": f"{target} | {draft}"}
    return places[BY_KEY[row.contender].placement]


def _k(row: Row) -> str:
    return "" if row.variant.k is None else str(row.variant.k)


def show_spread(value: Spread | None, digits: int, repeats: int) -> str:
    """The median, and the least and greatest where there are several repeats."""
    if value is None:
        return ""
    if repeats < _NEEDS_TWO_REPEATS:
        return f"{value.median:.{digits}f}"
    return f"{value.median:.{digits}f} ({value.low:.{digits}f} to {value.high:.{digits}f})"


def number(value: float | None, digits: int) -> str:
    """So many digits after the point."""
    return "" if value is None else f"{value:.{digits}f}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.0f} %"


def _same_text(row: Row) -> str:
    if row.agreement is None:
        return ""
    same, total = row.agreement.identical, row.agreement.total
    shown = "all" if same == total else f"{same} of {total}"
    return f"[red]DIFFERS: {shown}[/red]" if row.must_agree and same < total else shown
