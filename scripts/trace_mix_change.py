"""Show how fast the width of a pass follows a change of the requests: easy prompts, then hard ones, and back.

    python scripts/trace_mix_change.py --out mix-change.png

One engine, the target in this process, which decodes `--live` requests at all times: as one ends the next in
line begins. First all are of one kind, then those that begin are of another: `copy` repeats what its prompt
holds (answers are no longer than that), `prose` is what the embedded pair knows least. Noted of every pass
are drafted tokens that it verified, and accepted, per request. The picture shows both by the number of the
pass, with means over `--window` passes, and a line where the first request of the next kind takes part; the
JSON beside it has them apart for the requests of each phase.

Printed is, for each phase, after how many passes with its requests their mean width has settled: the first
at which the mean over the window before it comes within two standard deviations of such means in the second
half of the phase (at least a tenth of a token is allowed). The window itself has to be filled first, so the
least possible answer is its length. The exit code is 1 where that took more than 50 passes.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle, islice, pairwise
from pathlib import Path
from statistics import fmean, pstdev

from matplotlib.figure import Figure

from amusd import LLM, SamplingParams
from amusd.bench.charts import SKY, VERMILION, plain, save
from amusd.bench.prompts import embedded_prompts
from amusd.orders import Order
from amusd.speculation.messages import RequestId
from amusd.workers.cost_files import OFF, VARIABLE
from amusd.workers.target_engine import TargetEngine

TOLERANCE_MIN = 0.1  # drafted tokens
PASSES_MAX = 50
KINDS = ("copy", "prose", "copy")  # by phase
SEEDS = 1_000_000  # of a phase; the seed of a request tells which one it belongs to


@dataclass(frozen=True, slots=True)
class Pass:
    """Drafted tokens per request of one pass: of all, and of the requests of each phase that took part."""

    requests: int
    verified: float
    accepted: float
    verified_by_phase: Mapping[int, float]


def note_passes(passes: list[Pass]) -> None:
    """Have every engine that is made from now on note its passes."""
    load, open_order = TargetEngine.load, TargetEngine._open
    phase_of: dict[RequestId, int] = {}

    def noting_open(engine: TargetEngine, order: Order) -> None:
        phase_of[order.request] = order.seed // SEEDS
        open_order(engine, order)

    def noting_load(engine: TargetEngine) -> None:
        load(engine)
        on_pass = engine._policy.on_pass

        def noted(verified: Mapping[RequestId, int], accepted: Mapping[RequestId, int], end: float) -> None:
            widths: dict[int, list[int]] = {}
            for request, width in verified.items():
                widths.setdefault(phase_of[request], []).append(width)
            by_phase = {phase: fmean(found) for phase, found in widths.items()}
            passes.append(Pass(len(verified), fmean(verified.values()), fmean(accepted.values()), by_phase))
            on_pass(verified, accepted, end)

        engine._policy.on_pass = noted  # type: ignore[method-assign]

    TargetEngine.load = noting_load  # type: ignore[method-assign]
    TargetEngine._open = noting_open  # type: ignore[method-assign]


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


def draw(passes: Sequence[Pass], starts: Sequence[int], window: int, title: str) -> Figure:
    """Verified and accepted by pass, with the moments of change."""
    figure = Figure(figsize=(9.0, 4.2), layout="constrained")
    axis = figure.subplots()
    for values, colour, name in (
        ([each.verified for each in passes], VERMILION, "verified"),
        ([each.accepted for each in passes], SKY, "accepted"),
    ):
        axis.plot(values, color=colour, linewidth=0.5, alpha=0.5)
        means = window_means(values, window)
        axis.plot(range(window - 1, len(values)), means, color=colour, linewidth=2, label=name)
    for kind, start in zip(KINDS, starts, strict=True):
        axis.axvline(start, color="#999999", linewidth=0.8, linestyle="--")
        axis.annotate(
            kind, (start, 1), xycoords=("data", "axes fraction"), xytext=(4, -12), textcoords="offset points"
        )
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
    noted: list[Pass] = []
    note_passes(noted)
    texts, params = [], []
    for phase, kind in enumerate(KINDS):
        count = arguments.live * arguments.rounds
        texts += islice(cycle(prompt.text for prompt in embedded_prompts() if prompt.kind == kind), count)
        params += [
            SamplingParams(
                max_tokens=arguments.tokens,
                seed=SEEDS * phase + index,
                temperature=arguments.temperature,
                ignore_eos=True,
            )
            for index in range(count)
        ]
    with LLM(
        target="demo",
        draft=arguments.draft,
        widen=arguments.widen,
        launcher="inprocess",
        max_requests=arguments.live,
    ) as llm:
        llm.generate(texts, params)
    full = [index for index, each in enumerate(noted) if each.requests == arguments.live]
    passes = noted[full[0] : full[-1] + 1]  # without the first that come and the last that go
    starts = [
        next(index for index, each in enumerate(passes) if phase in each.verified_by_phase)
        for phase in range(len(KINDS))
    ]
    late = False
    for phase, (start, end) in enumerate(pairwise((*starts, len(passes)))):
        shown = (each.verified_by_phase for each in passes[start:end])
        widths = [by_phase[phase] for by_phase in shown if phase in by_phase]
        found = settled_after(widths, arguments.window)
        said = "too short to say: give more --rounds"
        if found is not None:
            said = f"settled after {found[0]} passes at {found[1]:.2f} verified tokens per request"
        late |= found is None or found[0] > PASSES_MAX
        print(f"phase {phase + 1}, {KINDS[phase]}: {len(widths)} passes; {said}")
    title = f"demo widened to {arguments.widen}, draft {arguments.draft}, {arguments.live} live requests"
    save(draw(passes, starts, arguments.window, title), arguments.out)
    plain = {"title": title, "kinds": KINDS, "starts": starts, "passes": [asdict(each) for each in passes]}
    arguments.out.with_suffix(".json").write_text(json.dumps(plain) + "\n", encoding="utf-8")
    print(f"written: {arguments.out}, {arguments.out.with_suffix('.json')}")
    return int(late)


if __name__ == "__main__":
    sys.exit(main())
