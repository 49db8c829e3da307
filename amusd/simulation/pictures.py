"""Pictures of sweeps and timelines; matplotlib comes with the extra `bench`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amusd.errors import AmusdError
from amusd.simulation.clock import NS_PER_MS
from amusd.simulation.sweep import Axis, Point
from amusd.tracing import Event, Track, committed_drafts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOG_RANGE = 20.0  # an axis whose values differ by more than this factor is logarithmic
_INK = "#333333"
_LINES = ("#0b6e99", "#d9730d", "#448361", "#9065b0", "#c14c8a", "#787774")
_USEFUL, _USELESS, _PASS, _ROLLBACK = "#448361", "#c9ced6", "#0b6e99", "#d44c47"


def draw_sweep(path: Path, title: str, axes: Sequence[Axis], points: Sequence[Point]) -> None:
    """Tokens per second over the first axis, a line for each value of the second, the target alone dashed.

    Args:
        axes: one or two.
        path: of the PNG to write.

    Raises:
        AmusdError: matplotlib is not installed.
    """
    figure, [plot] = figure_of(8, 4.8)
    x_axis, *others = axes
    positions, is_numeric = _positions(x_axis)
    lines = others[0].values if others else (None,)
    for index, value in enumerate(lines):
        own = [point for point in points if not others or point.values[1] == value]
        plot.errorbar(
            positions,
            [point.tokens_per_second for point in own],
            yerr=[point.spread for point in own],
            color=_LINES[index % len(_LINES)],
            marker="o",
            markersize=4,
            capsize=2,
            linewidth=1.6,
            label=None if value is None else f"{others[0].path} = {value}",
        )
    alone = [point.alone_tokens_per_second for point in points if not others or point.values[1] == lines[0]]
    plot.plot(positions, alone, color=_INK, linestyle="--", linewidth=1, label="target alone")
    if is_numeric and min(positions) > 0 and max(positions) / min(positions) > LOG_RANGE:
        plot.set_xscale("log")
    plot.set_xticks(positions, [str(value) for value in x_axis.values])
    plot.minorticks_off()
    plot.set_ylim(bottom=0)
    plot.set_xlabel(x_axis.path)
    plot.set_ylabel("tokens/s in virtual time, mean and sd over seeds")
    plot.set_title(title, loc="left", fontsize=11)
    plot.legend(frameon=False, fontsize=9)
    figure.savefig(path)


def draw_timeline(path: Path, title: str, tracks: Sequence[Track], start_ms: float, end_ms: float) -> None:
    """What each worker did in a window of time: drafts above, the target's passes below.

    Args:
        tracks: the drafters', then the target's.
        start_ms, end_ms: of the run's clock.

    Raises:
        AmusdError: matplotlib is not installed.
    """
    *drafters, target = tracks
    figure, [plot] = figure_of(11, 1.6 + 0.7 * len(tracks))
    for row, track in enumerate(drafters):
        _bars(plot, row, track.slices("draft"), _USELESS)
        _bars(plot, row, committed_drafts(track), _USEFUL)
    row = len(drafters)
    _bars(plot, row, target.slices("pass"), _PASS)
    for event in target.slices("pass"):
        middle_ms = (event.start_ns + event.end_ns) / 2 / NS_PER_MS
        if start_ms < middle_ms < end_ms:
            plot.text(
                middle_ms,
                row,
                event.arguments["verified"],
                color="white",
                ha="center",
                va="center",
                fontsize=8,
            )
    for event in target.events:
        if event.name == "rollback" and start_ms <= event.end_ns / NS_PER_MS <= end_ms:
            plot.plot([event.end_ns / NS_PER_MS] * 2, [-0.45, row + 0.45], color=_ROLLBACK, linewidth=1)
    plot.set_xlim(start_ms, end_ms)
    plot.set_ylim(row + 0.6, -0.6)
    plot.set_yticks(range(len(tracks)), [track.name for track in tracks])
    plot.set_xlabel("virtual milliseconds")
    plot.set_title(title, loc="left", fontsize=11)
    _legend(plot, drafters=bool(drafters))
    figure.savefig(path)


def figure_of(width: float, height: float, columns: int = 1) -> "tuple[Figure, list[Axes]]":
    """A figure of so many inches, and its plots beside each other.

    Raises:
        AmusdError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise AmusdError("pictures need matplotlib: pip install 'amusd[bench]'") from None
    figure = Figure(figsize=(width, height), dpi=130, layout="constrained")
    plots = [*figure.subplots(1, columns, squeeze=False)[0]]
    for plot in plots:
        plot.spines[["top", "right"]].set_visible(False)
        plot.tick_params(colors=_INK, labelsize=9)
    return figure, plots


def _positions(axis: Axis) -> tuple[list[float], bool]:
    """Where the values of an axis stand, and whether that is where they are."""
    if all(isinstance(value, int | float) for value in axis.values):
        return [float(value) for value in axis.values], True
    return [float(place) for place in range(len(axis.values))], False


def _bars(plot: "Axes", row: int, events: Sequence[Event], color: str) -> None:
    spans = [(event.start_ns / NS_PER_MS, (event.end_ns - event.start_ns) / NS_PER_MS) for event in events]
    plot.broken_barh(spans, (row - 0.35, 0.7), color=color, edgecolor="white", linewidth=0.6)


def _legend(plot: "Axes", *, drafters: bool) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [Patch(color=_PASS, label="pass (draft tokens verified)")]
    if drafters:
        handles = [
            Patch(color=_USEFUL, label="step of which a node was committed"),
            Patch(color=_USELESS, label="step of which none was"),
            *handles,
            Line2D([], [], color=_ROLLBACK, label="rollback"),
        ]
    plot.legend(
        handles=handles, frameon=False, fontsize=8, ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.28)
    )
