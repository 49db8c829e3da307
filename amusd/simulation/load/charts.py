"""What was simulated under load as PNG charts."""

from pathlib import Path
from typing import TYPE_CHECKING, Final

from amusd.simulation.clock import MS_PER_SECOND
from amusd.simulation.load.contenders import ALONE, JUDGED, TABLE, Contender
from amusd.simulation.load.experiment import LoadResult
from amusd.simulation.pictures import figure_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito, which colour-blind readers tell apart.
_NAMED: Final = {ALONE: "#000000", JUDGED: "#D55E00", TABLE: "#8C564B"}
_FIXED: Final = ("#56B4E9", "#009E73", "#0072B2", "#CC79A7", "#E69F00", "#F0E442", "#999999")
_MARKERS: Final = "osD^vP*X"


def write_charts(result: LoadResult, folder: Path) -> list[Path]:
    """Draw batches and rates; returns the files.

    Raises:
        AmusdError: matplotlib is not installed.
    """
    written = [folder / "load-batches.png", folder / "load-rates.png"]
    _draw_batches(result, written[0])
    _draw_rates(result, written[1])
    return written


def _draw_batches(result: LoadResult, path: Path) -> None:
    figure, [left, right] = figure_of(11, 4.4, columns=2)
    alone = {item.requests: item.tokens_per_second for item in result.batches if item.contender == ALONE}
    for index, contender in enumerate(result.contenders):
        mine = [item for item in result.batches if item.contender == contender.key]
        x = [item.requests for item in mine]
        rates = [item.tokens_per_second for item in mine]
        _line(left, result, index, x, rates, label=True)
        _line(right, result, index, x, [rate / alone[at] for at, rate in zip(x, rates, strict=True)])
    for plot in (left, right):
        plot.set_xscale("log", base=2)
        plot.set_xticks([*alone], [str(batch) for batch in alone])
        plot.minorticks_off()
        plot.set_xlabel("requests decoded at a time")
    left.set_yscale("log")
    left.set_ylabel("tokens/s in virtual time, all requests")
    right.set_ylim(bottom=0)
    right.set_ylabel(f"over the target {ALONE}")
    figure.legend(loc="outside right center", frameon=False, fontsize=9)
    figure.suptitle(result.scenario.description, fontsize=10)
    figure.savefig(path)


def _draw_rates(result: LoadResult, path: Path) -> None:
    figure, [left, right] = figure_of(11, 4.4, columns=2)
    for index, contender in enumerate(result.contenders):
        mine = [item for item in result.offered if item.contender == contender.key]
        x = [item.rate for item in mine]
        _line(left, result, index, x, [item.goodput for item in mine], label=True)
        _line(right, result, index, x, [MS_PER_SECOND * item.latency for item in mine])
    for plot in (left, right):
        plot.axvline(result.capacity, color="#999999", linestyle=":", linewidth=1)
        plot.set_xlabel(f"requests/s offered; dotted: what the target {ALONE} bears")
        plot.set_xlim(left=0)
        plot.set_ylim(bottom=0)
    left.set_ylabel("goodput, tokens/s in virtual time")
    right.set_ylabel("mean latency of a request, ms")
    figure.legend(loc="outside right center", frameon=False, fontsize=9)
    figure.suptitle(result.scenario.description, fontsize=10)
    figure.savefig(path)


def _line(
    plot: "Axes",
    result: LoadResult,
    index: int,
    x: list[float] | list[int],
    y: list[float],
    label: bool = False,
) -> None:
    contender = result.contenders[index]
    plot.plot(
        x,
        y,
        color=_colour(contender, index),
        marker=_MARKERS[index % len(_MARKERS)],
        markersize=5,
        linewidth=2.4 if contender.key == JUDGED else 1.3,
        linestyle="--" if contender.key == ALONE else "-",
        label=contender.key if label else None,
    )
    plot.grid(color="#dddddd", linewidth=0.7)


def _colour(contender: Contender, index: int) -> str:
    return _NAMED.get(contender.key) or _FIXED[(index - 1) % len(_FIXED)]
