"""What share of a pass the target's decisions take: which nodes, how many of them, and how long to wait.

    python scripts/measure_decision.py --widen 12288 --draft demo-large

Runs an engine of its own with the target in this process, and so many requests at a time; for each number it
prints medians over the passes that had them all and no prompt to read, in ms: the pass (`Verifier.verify`:
the forward, sampling, the walk); the decision (who has cells, choices, widths, waits, weights, the price, and
learning what the pass cost), all calls since the last pass together; its share of the pass; and the rest of
the target's Python since then: events, commits, frames. Once by the clock and once by the processor time of
the thread, which leaves out waiting for Python's lock: here the coordinator shares it, where the target has a
process of its own only its gRPC server does. The machine has to be otherwise idle. Exits with 1 where the
decision takes more than 2 % of a pass by the processor's time.
"""

import argparse
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from amusd import LLM, SamplingParams
from amusd.bench.prompts import embedded_prompts
from amusd.workers.cost_files import OFF, VARIABLE
from amusd.workers.target_engine import TargetEngine

SHARE_MAX = 0.02
DECISION, REST, VERIFY = "decision", "rest", "pass"
DECISIONS = ("_settle_room", "_choose", "_deadline", "_learn_costs")
OTHERS = ("on_event", "_commit", "_publish", "_look_up")
CLOCKS: dict[str, Callable[[], float]] = {"clock": time.perf_counter, "processor": time.thread_time}


@dataclass
class Taken:
    """Seconds since the last pass, by part and clock; the outermost of nested calls counts."""

    depth: int = 0
    read_prompt: bool = False
    seconds: dict[tuple[str, str], float] = field(default_factory=lambda: defaultdict(float))
    passes: dict[int, list[dict[tuple[str, str], float]]] = field(default_factory=lambda: defaultdict(list))

    def wrap(self, part: str, action: Callable[..., Any]) -> Callable[..., Any]:
        """The same, timed."""

        def timed(*arguments: Any, **options: Any) -> Any:
            if self.depth:
                return action(*arguments, **options)
            self.depth = 1
            before = {name: clock() for name, clock in CLOCKS.items()}
            try:
                return action(*arguments, **options)
            finally:
                for name, clock in CLOCKS.items():
                    self.seconds[part, name] += clock() - before[name]
                self.depth = 0

        return timed

    def end_pass(self, requests: int) -> None:
        """Keep what was taken, and begin anew."""
        if not self.read_prompt:
            self.passes[requests].append(dict(self.seconds))
        self.seconds.clear()
        self.read_prompt = False


def instrument(taken: Taken) -> None:
    """Time every engine that is made from now on."""
    load, run_pass, prefill = TargetEngine.load, TargetEngine._pass, TargetEngine._prefill

    def timed_load(engine: TargetEngine) -> None:
        load(engine)
        for name in DECISIONS:
            setattr(engine, name, taken.wrap(DECISION, getattr(engine, name)))
        for name in OTHERS:
            setattr(engine, name, taken.wrap(REST, getattr(engine, name)))
        policy, verifier, urgency = engine._policy, engine.verifier, engine._urgency
        policy.widths = taken.wrap(DECISION, policy.widths)  # type: ignore[method-assign]
        policy.on_pass = taken.wrap(DECISION, policy.on_pass)  # type: ignore[method-assign]
        urgency.weights = taken.wrap(DECISION, urgency.weights)  # type: ignore[method-assign]
        verifier.verify = taken.wrap(VERIFY, verifier.verify)  # type: ignore[method-assign]

    def counted_pass(engine: TargetEngine) -> None:
        requests = len(engine._decoding)
        run_pass(engine)
        taken.end_pass(requests)

    def noted_prefill(engine: TargetEngine, rows: int) -> None:
        taken.read_prompt = True
        prefill(engine, rows)

    TargetEngine.load = timed_load  # type: ignore[method-assign]
    TargetEngine._pass = counted_pass  # type: ignore[method-assign]
    TargetEngine._prefill = noted_prefill  # type: ignore[method-assign]


def main() -> int:
    """Measure, and print a line for each number of requests."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--widen", type=int, default=12288)
    parser.add_argument("--draft", nargs="+", default=["demo-large"], help="more than one draft together")
    parser.add_argument("--policy", default="goodput")
    parser.add_argument("--live", type=int, nargs="+", default=[1, 8, 16, 32])
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--prompts", type=int, default=12)
    arguments = parser.parse_args()
    os.environ.setdefault(VARIABLE, OFF)
    taken, most = Taken(), 0.0
    instrument(taken)
    prompts = [prompt.text for prompt in embedded_prompts()[: arguments.prompts]]
    with LLM(
        target="demo",
        draft=arguments.draft,
        widen=arguments.widen,
        policy=arguments.policy,
        launcher="inprocess",
        max_requests=max(arguments.live),
    ) as llm:
        print(
            "  live  passes  pass ms | by the clock: decision ms, share, rest ms | by the processor: the same"
        )
        for live in arguments.live:
            params = [
                SamplingParams(max_tokens=arguments.tokens, seed=seed, temperature=1.0, ignore_eos=True)
                for seed in range(live)
            ]
            texts = [prompts[index % len(prompts)] for index in range(live)]
            llm.generate(texts[:1], SamplingParams(max_tokens=8, ignore_eos=True))
            taken.passes.clear()
            llm.generate(texts, params)
            if not (passes := taken.passes[live]):
                raise SystemExit(f"no pass had all of {live}: give more --tokens")
            print(f"{live:6}  {report(passes)}", flush=True)
            most = max(most, middle(passes, DECISION, "processor") / middle(passes, VERIFY, "clock"))
    return 1 if most > SHARE_MAX else 0


def report(passes: list[dict[tuple[str, str], float]]) -> str:
    """Medians of some passes."""
    verify = middle(passes, VERIFY, "clock")
    shown = []
    for clock in CLOCKS:
        decision, rest = (middle(passes, part, clock) for part in (DECISION, REST))
        shown.append(f"{1e3 * decision:8.3f} {100 * decision / verify:6.2f} % {1e3 * rest:8.3f}")
    return f"{len(passes):6}  {1e3 * verify:7.2f} | {' | '.join(shown)}"


def middle(passes: list[dict[tuple[str, str], float]], part: str, clock: str) -> float:
    """The median of what a part took, in seconds."""
    return median(row.get((part, clock), 0.0) for row in passes)


if __name__ == "__main__":
    sys.exit(main())
