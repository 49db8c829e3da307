"""Show how fast the width of a pass follows a change of the requests: easy prompts, then hard ones, and back.

    python scripts/trace_mix_change.py --out mix-change.png

One engine, the target in this process; in each phase `--live` requests are decoded at a time, all of one
kind: `copy` repeats what its prompt holds (answers are no longer than that), `prose` is what the embedded
pair knows least. Noted is every pass in which so many take part: drafted tokens that it verified, and
accepted, per request. The picture shows both by the number of the pass, with means over `--window` passes.
Printed is, for each change, after how many passes the mean width has settled: the first pass after it at
which the mean over the window before it comes within two standard deviations of such means in the second
half of the phase (at least a tenth of a token is allowed). The window itself has to be filled first, so the
least possible answer is its length.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from statistics import fmean, pstdev

from matplotlib.figure import Figure

from amusd import LLM, SamplingParams
from amusd.bench.charts import SKY, VERMILION, plain, save
from amusd.bench.prompts import embedded_prompts
from amusd.speculation.messages import RequestId
from amusd.workers.cost_files import OFF, VARIABLE
from amusd.workers.target_engine import TargetEngine

TOLERANCE_MIN = 0.1  # drafted tokens
KINDS = ("copy", "prose", "copy")


@dataclass(frozen=True, slots=True)
class Pass:
    """Drafted tokens per request of one pass."""

    verified: float
    accepted: float


def note_passes(passes: list[Pass], live: int) -> None:
    """Have every engine that is made from now on note its passes of so many requests."""
    load = TargetEngine.load

    def noting_load(engine: TargetEngine) -> None:
        load(engine)
        on_pass = engine._policy.on_pass

        def noted(verified: Mapping[RequestId, int], accepted: Mapping[RequestId, int], end: float) -> None:
            if len(verified) == live:
                passes.append(Pass(fmean(verified.values()), fmean(accepted.values())))
            on_pass(verified, accepted, end)

        engine._policy.on_pass = noted  # type: ignore[method-assign]

    TargetEngine.load = noting_load  # type: ignore[method-assign]


def window_means(values: Sequence[float], window: int) -> list[float]:
    """The mean over the last so many values, for each value that has so many."""
    return [fmean(values[end - window : end]) for end in range(window, len(values) + 1)]


def settled_after(widths: Sequence[float], window: int) -> tuple[int, float] | None:
    """After how many passes of a phase its mean width has settled, and at what; None if it is too short."""
    means = window_means(widths, window)
    late = means[len(means) // 2 :]
    if len(late) < window:
        return None
    level, allowed = fmean(late), max(TOLERANCE_MIN, 2 * pstdev(late))
    first = next(index for index, mean in enumerate(means) if abs(mean - level) <= allowed)
    return first + window, level


def draw(phases: Sequence[tuple[str, Sequence[Pass]]], window: int, title: str) -> Figure:
    """Verified and accepted by pass, with the moments of change."""
    figure = Figure(figsize=(9.0, 4.2), layout="constrained")
    axis = figure.subplots()
    passes = [each for _, phase in phases for each in phase]
    for values, colour, name in (
        ([each.verified for each in passes], VERMILION, "verified"),
        ([each.accepted for each in passes], SKY, "accepted"),
    ):
        axis.plot(values, color=colour, linewidth=0.5, alpha=0.5)
        means = window_means(values, window)
        axis.plot(range(window - 1, len(values)), means, color=colour, linewidth=2, label=name)
    start = 0
    for kind, phase in phases:
        axis.axvline(start, color="#999999", linewidth=0.8, linestyle="--")
        axis.annotate(
            kind, (start, 1), xycoords=("data", "axes fraction"), xytext=(4, -12), textcoords="offset points"
        )
        start += len(phase)
    axis.set_xlabel(f"pass; thick: mean over {window}")
    axis.set_ylabel("drafted tokens per request")
    axis.set_ylim(bottom=0)
    axis.legend(frameon=False, loc="upper right")
    axis.set_title(title, fontsize=10)
    plain(axis)
    return figure


def main() -> int:
    """Decode the phases, print when each settled, and draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--widen", type=int, default=12288)
    parser.add_argument("--draft", default="demo-large")
    parser.add_argument("--live", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=6, help="requests of a phase, as a multiple of --live")
    parser.add_argument("--tokens", type=int, default=80, help="of each answer")
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--window", type=int, default=10, help="passes")
    parser.add_argument("--out", type=Path, default=Path("mix-change.png"))
    arguments = parser.parse_args()
    os.environ.setdefault(VARIABLE, OFF)
    passes: list[Pass] = []
    note_passes(passes, arguments.live)
    phases: list[tuple[str, list[Pass]]] = []
    with LLM(
        target="demo",
        draft=arguments.draft,
        widen=arguments.widen,
        launcher="inprocess",
        max_requests=arguments.live,
    ) as llm:
        for number, kind in enumerate(KINDS):
            texts = [prompt.text for prompt in embedded_prompts() if prompt.kind == kind]
            params = [
                SamplingParams(
                    max_tokens=arguments.tokens,
                    seed=1000 * number + index,
                    temperature=arguments.temperature,
                    ignore_eos=True,
                )
                for index in range(arguments.live * arguments.rounds)
            ]
            passes.clear()
            llm.generate(list(islice(cycle(texts), len(params))), params)
            phases.append((kind, list(passes)))
    for number, (kind, phase) in enumerate(phases):
        found = settled_after([each.verified for each in phase], arguments.window)
        said = "too short to say: give more --tokens"
        if found is not None:
            said = f"settled after {found[0]} passes at {found[1]:.2f} verified tokens per request"
        accepted = fmean(each.accepted for each in phase) if phase else 0.0
        print(f"phase {number + 1}, {kind}: {len(phase)} passes, {accepted:.2f} accepted; {said}")
    title = f"demo widened to {arguments.widen}, draft {arguments.draft}, {arguments.live} live requests"
    save(draw(phases, arguments.window, title), arguments.out)
    print(f"written: {arguments.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
