"""What was measured under load as PNG charts, each quantity against the offered rate."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from amusd.bench.charts import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    MARKERS,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    YELLOW,
    plain,
    save,
)
from amusd.bench.load.measures import Distribution, Measures
from amusd.bench.load.results import JUDGED, LoadResults
from amusd.bench.load.settings import ALONE

RIVAL_COLOURS: Final = (GREY, BLACK)
FIXED_COLOURS: Final = (GREEN, BLUE, ORANGE, PURPLE, YELLOW)
PARTS: Final = ("mean", "p50", "p99")
QUANTITIES: Final[tuple[tuple[str, str, Callable[[Measures], Distribution | None]], ...]] = (
    ("latency", "latency of a request", lambda item: item.latency),
    ("first-token", "time to first token", lambda item: item.first_token),
    ("per-token", "time per output token", lambda item: item.per_token),
)


def write_charts(results: LoadResults, folder: Path) -> list[Path]:
    """Draw goodput, and mean and percentiles of each time; returns the files."""
    measures = results.measures()
    written = [folder / "load-goodput.png"]
    save(goodput_chart(results, measures), written[0])
    for name, label, choose in QUANTITIES:
        written.append(folder / f"load-{name}.png")
        save(times_chart(results, measures, label, choose), written[-1])
    return written


def goodput_chart(results: LoadResults, measures: Sequence[Measures]) -> Figure:
    """Tokens per second of finished requests; whiskers from least to greatest repeat."""
    figure = Figure(figsize=(7.6, 4.4), layout="constrained")
    axis = figure.subplots()
    for index, key in enumerate(results.contenders):
        mine = [item for item in measures if item.contender == key]
        spreads = [item.goodput for item in mine]
        line = axis.errorbar(
            [item.rate for item in mine],
            [spread.median for spread in spreads],
            yerr=[
                [spread.median - spread.low for spread in spreads],
                [spread.high - spread.median for spread in spreads],
            ],
            color=_colour(results, key),
            marker=MARKERS[index % len(MARKERS)],
            linewidth=_width(key),
            capsize=2.5,
        )
        line.set_label(key)
    _rates(axis, results)
    axis.set_ylabel("tokens per second of finished requests")
    axis.set_ylim(bottom=0)
    _finish(figure, results)
    return figure


def times_chart(
    results: LoadResults,
    measures: Sequence[Measures],
    label: str,
    choose: Callable[[Measures], Distribution | None],
) -> Figure:
    """A panel each for mean, p50 and p99, in milliseconds, on logarithmic axes."""
    figure = Figure(figsize=(11.4, 4.0), layout="constrained")
    for axis, part in zip(figure.subplots(1, len(PARTS), sharey=True), PARTS, strict=True):
        for index, key in enumerate(results.contenders):
            shown = [
                (item.rate, 1000 * getattr(found, part))
                for item in measures
                if item.contender == key and (found := choose(item)) is not None
            ]
            axis.plot(
                [rate for rate, _ in shown],
                [milliseconds for _, milliseconds in shown],
                color=_colour(results, key),
                marker=MARKERS[index % len(MARKERS)],
                linewidth=_width(key),
                label=key if part == PARTS[0] else None,
            )
        _rates(axis, results)
        if any(len(line.get_ydata()) for line in axis.get_lines()):
            axis.set_yscale("log")  # which cannot be drawn without a number
            axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
            axis.yaxis.set_minor_formatter(NullFormatter())
        axis.set_title(part, fontsize=10)
        if part == PARTS[0]:
            axis.set_ylabel(f"{label}, ms")
    _finish(figure, results)
    return figure


def _rates(axis: Axes, results: LoadResults) -> None:
    axis.set_xscale("log")
    axis.set_xticks(results.rates, [f"{rate:g}" for rate in results.rates])
    axis.minorticks_off()
    axis.set_xlabel("requests per second offered")
    plain(axis)
    axis.grid(color="#dddddd", linewidth=0.7)


def _finish(figure: Figure, results: LoadResults) -> None:
    settings = results.settings
    widened = f" widened to {settings['widen']}" if settings["widen"] else ""
    figure.legend(loc="outside right center", fontsize=8, frameon=False)
    figure.suptitle(
        f"{settings['target']}{widened} on {settings['target_devices']}, draft {results.drafts} on "
        f"{settings['draft_devices']}; arrivals: {settings['arrivals']}",
        fontsize=10,
    )


def _colour(results: LoadResults, key: str) -> str:
    if key in (ALONE, JUDGED):
        return SKY if key == ALONE else VERMILION
    if key in results.rivals:
        return RIVAL_COLOURS[results.rivals.index(key) % len(RIVAL_COLOURS)]
    others = [other for other in results.contenders if other not in (ALONE, JUDGED, *results.rivals)]
    return FIXED_COLOURS[others.index(key) % len(FIXED_COLOURS)]


def _width(key: str) -> float:
    return 2.4 if key == JUDGED else 1.3
