"""A picture of one request: the draft's steps above the target's passes, on one clock."""

from collections.abc import Sequence
from typing import Final

import matplotlib as mpl

mpl.use("Agg")  # files only: no display is needed

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from amusd.bench.charts import BLACK, BLUE, GREEN, GREY, ORANGE, VERMILION
from amusd.bench.traces import Lane, Slice, Trace

WINDOW_MS: Final = 2000.0
CLOSE_UP_MS: Final = 250.0
_DRAFT_AT, _TARGET_AT, _HEIGHT = 1.0, 0.0, 0.55
_UNUSED = "#D9D9D9"


def timeline(trace: Trace, title: str) -> Figure:
    """Two seconds of one request's trace, and a close-up of a quarter of a second of it.

    A draft step is blue where a token of it was verified, pale where none was. Passes are green, paler from
    one to the next so that they can be told apart; black ticks are rollbacks on the target's side.
    """
    passes = trace.target.named("pass")
    start = passes[0].start_ms if passes else 0.0
    figure = Figure(figsize=(13, 5.4), layout="constrained")
    whole, close = figure.subplots(2, 1, height_ratios=(1, 1.5))
    last = max((item.end_ms for item in passes), default=start)
    window = min(WINDOW_MS, last - start) or WINDOW_MS
    _draw(whole, trace, start, window, arrows=False)
    near = min(CLOSE_UP_MS, window)
    offset = _liveliest(trace, start, window, near)
    _draw(close, trace, offset, near, arrows=True, origin=start)
    whole.axvspan(offset - start, offset - start + near, color=ORANGE, alpha=0.25, linewidth=0, zorder=0)
    whole.set_title(title, fontsize=10, loc="left")
    close.set_title(f"the {near:.0f} ms that are shaded above", fontsize=10, loc="left")
    close.set_xlabel("milliseconds since the first pass")
    figure.legend(handles=_legend(), loc="outside lower center", ncols=6, frameon=False, fontsize=9)
    return figure


def _liveliest(trace: Trace, start: float, window: float, near: float) -> float:
    """Where to look closer: the stretch with a rollback in its middle, else the middle of the window."""
    marks = [
        mark.start_ms
        for mark in trace.target.named("rollback")
        if start + near / 2 <= mark.start_ms <= start + window - near / 2
    ]
    return (marks[len(marks) // 2] if marks else start + window / 2) - near / 2


def _draw(
    axis: Axes, trace: Trace, start: float, window: float, *, arrows: bool, origin: float | None = None
) -> None:
    zero = start if origin is None else origin
    stop = start + window
    used = {round(item.step_ms, 4) for item in trace.proposals}
    for lane in trace.drafts:
        steps = _within(lane, "draft", start, stop)
        _bars(axis, [s for s in steps if round(s.start_ms, 4) in used], _DRAFT_AT, zero, (BLUE,))
        _bars(axis, [s for s in steps if round(s.start_ms, 4) not in used], _DRAFT_AT, zero, (_UNUSED,))
    passes = _within(trace.target, "pass", start, stop)
    _bars(axis, passes, _TARGET_AT, zero, (GREEN, "#66C2A5"))
    if arrows:
        shown = [item for item in trace.proposals if start <= item.step_ms and item.pass_ms <= stop]
        ends = {round(s.start_ms, 4): s.end_ms for lane in trace.drafts for s in lane.named("draft")}
        lines = [
            [
                (ends.get(round(item.step_ms, 4), item.step_ms) - zero, _DRAFT_AT - _HEIGHT / 2),
                (item.pass_ms - zero, _TARGET_AT + _HEIGHT / 2),
            ]
            for item in shown
        ]
        axis.add_collection(LineCollection(lines, colors=GREY, linewidths=0.8))
        for item in passes:
            text = str(item.arguments["verified"])
            middle = (item.start_ms + item.end_ms) / 2 - zero
            axis.text(middle, _TARGET_AT, text, ha="center", va="center", fontsize=8, color="white")
    for mark in _within(trace.target, "rollback", start, stop):
        axis.plot(
            [mark.start_ms - zero] * 2,
            [_TARGET_AT - _HEIGHT / 2 - 0.22, _TARGET_AT + _HEIGHT / 2],
            color=VERMILION,
            linewidth=2.0 if arrows else 1.2,
        )
    axis.set_xlim(start - zero, stop - zero)
    axis.set_ylim(_TARGET_AT - 0.6, _DRAFT_AT + 0.45)
    axis.set_yticks([_DRAFT_AT, _TARGET_AT], ["draft", "target"])
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
    axis.tick_params(axis="y", length=0)


def _within(lane: Lane, name: str, start: float, stop: float) -> list[Slice]:
    return [item for item in lane.named(name) if item.end_ms >= start and item.start_ms <= stop]


def _bars(axis: Axes, items: Sequence[Slice], at: float, zero: float, colours: Sequence[str]) -> None:
    """Broken bars of height `_HEIGHT` around `at`; colours take turns."""
    axis.broken_barh(
        [(item.start_ms - zero, item.end_ms - item.start_ms) for item in items],
        (at - _HEIGHT / 2, _HEIGHT),
        facecolors=[colours[index % len(colours)] for index in range(len(items))] or BLACK,
        edgecolors="white",
        linewidth=0.3,
    )


def _legend() -> list[Patch | Line2D]:
    return [
        Patch(facecolor=BLUE, label="draft step whose tokens were verified"),
        Patch(facecolor=_UNUSED, label="draft step, none verified"),
        Patch(facecolor=GREEN, label="target pass (number: tokens verified)"),
        Line2D([], [], color=GREY, linewidth=1, label="a token on its way to its pass"),
        Line2D([], [], color=VERMILION, linewidth=2, label="rollback"),
    ]
