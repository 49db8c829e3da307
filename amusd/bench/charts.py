"""The results as PNG charts, in the colours of Okabe and Ito, which colour-blind readers tell apart."""

from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, Final

import matplotlib as mpl

mpl.use("Agg")  # files only: no display is needed

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from amusd.bench.contenders import BY_KEY
from amusd.bench.limits import DEPTHS_SHOWN, PASSES_MIN
from amusd.bench.results import Results
from amusd.bench.summary import Row, Summary

BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
GREY: Final = "#999999"
CONTENDER_COLOURS: Final = {
    "transformers": GREY,
    "transformers-assisted": BLACK,
    "llamacpp": YELLOW,
    "llamacpp-draft": ORANGE,
    "alone": SKY,
    "sync": GREEN,
    "amusd": PURPLE,
    "pearl": BLUE,
    "async": VERMILION,
}
DRAFT_COLOURS: Final = (BLUE, ORANGE, GREEN, PURPLE, SKY)
MARKERS: Final = "osD^vP*X"
LINES: Final = ("-", "--", ":", "-.")
DPI: Final = 140


def write_charts(results: Results, summary: Summary, folder: Path) -> list[Path]:
    """Draw every chart that the results have the numbers for; returns the files."""
    charts: list[tuple[str, Callable[[Results, Summary], Figure | None]]] = [
        ("throughput.png", throughput_chart),
        ("temperature.png", temperature_chart),
        ("cost.png", cost_chart),
        ("acceptance.png", acceptance_chart),
    ]
    written = []
    for name, draw in charts:
        figure = draw(results, summary)
        if figure is not None:
            save(figure, folder / name)
            written.append(folder / name)
    return written


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG."""
    figure.savefig(path, dpi=DPI, bbox_inches="tight", facecolor="white")


def throughput_chart(results: Results, summary: Summary) -> Figure:
    """Bars of tokens/s by contender, a panel a temperature; whiskers from least to greatest repeat."""
    panels = len(summary.temperatures)
    rows_max = max(len(_rows(summary, t)) for t in summary.temperatures)
    figure = Figure(figsize=(3.0 + 4.6 * panels, 1.7 + 0.36 * rows_max), layout="constrained")
    axes = figure.subplots(1, panels, sharey=True, squeeze=False)[0]
    names = list(dict.fromkeys(row.contender for row in summary.rows))
    for axis, temperature in zip(axes, summary.temperatures, strict=True):
        rows = _rows(summary, temperature)
        places = [names.index(row.contender) for row in rows]
        medians = [row.tokens_per_second.median for row in rows]
        below = [row.tokens_per_second.median - row.tokens_per_second.low for row in rows]
        above = [row.tokens_per_second.high - row.tokens_per_second.median for row in rows]
        axis.barh(
            places,
            medians,
            xerr=[below, above],
            color=[_colour(row.contender) for row in rows],
            hatch=["////" if BY_KEY[row.contender].placement == "all" else "" for row in rows],
            edgecolor="white",
            error_kw={"ecolor": "#333333", "capsize": 2.5, "elinewidth": 1},
        )
        longest = max(row.tokens_per_second.high for row in rows)
        for place, row in zip(places, rows, strict=True):
            text = f"{row.tokens_per_second.median:.3g}  {_setting(row)}"
            axis.text(row.tokens_per_second.high + 0.015 * longest, place, text, va="center", fontsize=8)
        axis.set_xlim(0, 1.45 * longest)
        axis.set_title(f"temperature {temperature:g}", fontsize=10)
        axis.set_xlabel("tokens per second, prefill included")
        plain(axis)
        axis.grid(axis="x", color="#dddddd", linewidth=0.7)
    axes[0].set_yticks(range(len(names)), names)
    axes[0].invert_yaxis()
    target, draft = results.settings["target_devices"], results.settings["draft_devices"]
    figure.suptitle(
        f"Tokens per second, one request at a time. Target on {target}, draft on {draft}; "
        f"hatched: one model on {target}+{draft}",
        fontsize=10,
    )
    return figure


def temperature_chart(_results: Results, summary: Summary) -> Figure | None:
    """Lines of tokens/s over temperature; None where there is one temperature only."""
    if len(summary.temperatures) < 2:
        return None
    figure = Figure(figsize=(7.6, 4.4), layout="constrained")
    axis = figure.subplots()
    for key in dict.fromkeys(row.contender for row in summary.rows):
        rows = [row for row in summary.rows if row.contender == key]
        contender = BY_KEY[key]
        x = [row.temperature for row in rows]
        line = axis.errorbar(
            x,
            [row.tokens_per_second.median for row in rows],
            yerr=[
                [row.tokens_per_second.median - row.tokens_per_second.low for row in rows],
                [row.tokens_per_second.high - row.tokens_per_second.median for row in rows],
            ],
            color=_colour(key),
            linestyle="--" if contender.placement == "all" else "-",
            marker=MARKERS[list(CONTENDER_COLOURS).index(contender.name) % len(MARKERS)],
            markersize=5,
            markerfacecolor="white" if contender.drafts and not contender.tuned and key != "async" else None,
            linewidth=2.4 if key == "async" else 1.3,
            capsize=2.5,
        )
        line.set_label(key)
    axis.set_xlabel("temperature")
    axis.set_ylabel("tokens per second, prefill included")
    axis.set_xticks(summary.temperatures)
    axis.set_ylim(bottom=0)
    plain(axis)
    axis.grid(color="#dddddd", linewidth=0.7)
    figure.legend(loc="outside right center", fontsize=8, frameon=False)
    return figure


def cost_chart(results: Results, _summary: Summary) -> Figure | None:
    """What a pass costs by its rows; None where none was traced."""
    if not results.pass_costs:
        return None
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axis = figure.subplots()
    _cost_line(axis, results.pass_costs, BLACK, "-", "o", "draft asleep (alone and sync)")
    for index, (key, costs) in enumerate(results.busy_pass_costs.items()):
        _cost_line(axis, costs, _colour(key), "--", MARKERS[index + 1], f"draft at work ({key})")
    for colour, (draft, costs) in zip(DRAFT_COLOURS, results.draft_costs.items(), strict=False):
        step = median(costs[min(costs)])
        axis.axhline(
            step, color=colour, linewidth=1, linestyle=":", label=f"one step of {draft}: {step:.1f} ms"
        )
    axis.set_xlabel("rows of a pass: the root's and one for each verified token")
    axis.set_ylabel("milliseconds of one target pass\n(median, bars: middle half)")
    axis.set_ylim(bottom=0)
    axis.set_xlim(left=0)
    plain(axis)
    axis.grid(color="#dddddd", linewidth=0.7)
    axis.legend(fontsize=8, frameon=False)
    return figure


def _cost_line(
    axis: Axes, costs: dict[int, list[float]], colour: str, line: str, marker: str, label: str
) -> None:
    shown = {rows: sorted(values) for rows, values in costs.items() if len(values) >= PASSES_MIN}
    if not shown:
        return
    middle = [median(values) for values in shown.values()]
    quarters = [(values[len(values) // 4], values[(3 * len(values)) // 4]) for values in shown.values()]
    bars = [
        [max(0.0, at - low) for at, (low, _) in zip(middle, quarters, strict=True)],
        [max(0.0, high - at) for at, (_, high) in zip(middle, quarters, strict=True)],
    ]
    axis.errorbar(
        list(shown), middle, yerr=bars, color=colour, linestyle=line, marker=marker, capsize=2.5, label=label
    )


def acceptance_chart(_results: Results, summary: Summary) -> Figure | None:
    """Acceptance by depth and by rank of each draft; None where no ranks were measured."""
    if not summary.drafts:
        return None
    figure = Figure(figsize=(9.6, 3.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    names = list(dict.fromkeys(row.draft for row in summary.drafts))
    width = 0.8 / len(summary.drafts)
    for index, row in enumerate(summary.drafts):
        colour = DRAFT_COLOURS[names.index(row.draft) % len(DRAFT_COLOURS)]
        at = summary.temperatures.index(row.temperature)
        label = f"{row.draft} on the target's text, temperature {row.temperature:g}"
        depths = [(depth, value) for depth, value in enumerate(row.by_depth, 1) if value is not None]
        left.plot(
            [depth for depth, _ in depths],
            [value for _, value in depths],
            color=colour,
            linestyle=LINES[at % len(LINES)],
            marker=MARKERS[at % len(MARKERS)],
            label=label,
        )
        places = [rank - 0.4 + width * (index + 0.5) for rank in range(1, len(row.by_rank) + 1)]
        hatch = ["", "////", "....", "xxxx"][at % 4]
        right.bar(places, row.by_rank, width=width, color=colour, hatch=hatch, edgecolor="white", label=label)
    _observed_lines(left, summary)
    left.set_xlabel("depth: tokens beyond the last committed one")
    left.set_ylabel("share accepted, where all before were")
    left.set_ylim(0, 1.03)
    left.set_xlim(0.5, DEPTHS_SHOWN + 0.5)
    right.set_xlabel("rank of the target's token among the draft's candidates")
    right.set_ylabel("share of tokens")
    for axis in (left, right):
        plain(axis)
        axis.grid(axis="y", color="#dddddd", linewidth=0.7)
        axis.set_axisbelow(True)
    left.legend(fontsize=7, frameon=False, loc="lower left")
    right.legend(fontsize=8, frameon=False)
    return figure


def _observed_lines(axis: Axes, summary: Summary) -> None:
    """Acceptance by depth as `async` saw it: of the nodes that it chose to verify."""
    for row in summary.rows:
        shown = [(depth, value) for depth, value in enumerate(row.by_depth, 1) if value is not None]
        if row.contender != "async" or not shown:
            continue
        at = summary.temperatures.index(row.temperature)
        axis.plot(
            [depth for depth, _ in shown],
            [value for _, value in shown],
            color=VERMILION,
            linestyle=LINES[at % len(LINES)],
            marker=MARKERS[at % len(MARKERS)],
            markerfacecolor="white",
            label=f"verified by async with {row.variant.draft}, temperature {row.temperature:g}",
        )


def _rows(summary: Summary, temperature: float) -> list[Row]:
    return [row for row in summary.rows if row.temperature == temperature]


def _colour(key: str) -> str:
    return CONTENDER_COLOURS[BY_KEY[key].name]


def _setting(row: Row) -> str:
    parts = [row.variant.draft or "", f"k={row.variant.k}" if row.variant.k is not None else ""]
    text = ", ".join(part for part in parts if part)
    return f"({text})" if text else ""


def plain(axis: Any) -> None:
    """Leave out what says nothing."""
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    axis.set_axisbelow(True)
