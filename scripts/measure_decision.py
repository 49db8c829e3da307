"""What share of a pass the target's decisions take: which nodes, how many of them, and how long to wait.

    python scripts/measure_decision.py --widen 12288 --draft demo-large

Runs an engine of its own as `amusd generate` does, each worker in its process, and so many requests at a
time; for each number it prints medians over the passes that had them all and no prompt to read, in ms: the
pass (`Verifier.verify`: the forward, sampling, the walk); the decision (who has cells, choices, widths,
waits, weights, the price, and learning what the pass cost), all calls since the last pass together; its
share of the pass; and the rest of the target's Python since then: events, commits, frames. Once by the
clock, in which it waits for Python's lock while the gRPC server has it, and once by the processor time of
the thread. The machine has to be otherwise idle. Exits with 1 where the decision takes more than 2 % of a
pass by the processor time.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

from amusd import LLM, SamplingParams
from amusd.bench.prompts import embedded_prompts
from amusd.config import EngineConfig
from amusd.deployment import plan_deployment
from amusd.launchers.local import LocalLauncher
from amusd.prompts import PromptReader
from amusd.workers.cost_files import OFF, VARIABLE
from amusd.workers.entry import RunningWorker, run_worker
from amusd.workers.target_engine import TargetEngine

SHARE_MAX = 0.02
DECISION, REST, VERIFY = "decision", "rest", "pass"
DECISIONS = ("_settle_room", "_choose", "_deadline", "_learn_costs")
OTHERS = ("on_event", "_commit", "_publish", "_look_up")
CLOCKS: dict[str, Callable[[], float]] = {"clock": time.perf_counter, "processor": time.thread_time}


Pass = tuple[float, int, dict[str, float]]
"""When it ended by `time.monotonic`, its number of requests, and seconds by part and clock (`key`)."""


def key(part: str, clock: str) -> str:
    """Of what a part took by one of the clocks."""
    return f"{part} {clock}"


@dataclass
class Taken:
    """Seconds since the last pass, by part and clock; the outermost of nested calls counts."""

    depth: int = 0
    read_prompt: bool = False
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    passes: list[Pass] = field(default_factory=list)

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
                    self.seconds[key(part, name)] += clock() - before[name]
                self.depth = 0

        return timed

    def end_pass(self, requests: int) -> None:
        """Keep what was taken, and begin anew."""
        if not self.read_prompt:
            self.passes.append((time.monotonic(), requests, dict(self.seconds)))
        self.seconds.clear()
        self.read_prompt = False


def run_timed_worker(spec: dict[str, Any]) -> RunningWorker:
    """What the launcher calls in the target's process; when that ends its passes are in the file `told`."""
    instrument(Taken(), Path(spec["options"]["told"]))
    return run_worker(spec)


def instrument(taken: Taken, told: Path) -> None:
    """Time the engine that is made next."""
    load, run_pass, prefill = TargetEngine.load, TargetEngine._pass, TargetEngine._prefill
    finish = TargetEngine.finish

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

    def told_finish(engine: TargetEngine) -> None:
        finish(engine)
        told.write_text(json.dumps(taken.passes))

    TargetEngine.finish = told_finish  # type: ignore[method-assign]
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
    prompts = [prompt.text for prompt in embedded_prompts()[: arguments.prompts]]
    phases: list[tuple[int, float, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "passes.json"
        with engine(told, arguments) as llm:
            for live in arguments.live:
                params = [
                    SamplingParams(max_tokens=arguments.tokens, seed=seed, temperature=1.0, ignore_eos=True)
                    for seed in range(live)
                ]
                texts = [prompts[index % len(prompts)] for index in range(live)]
                llm.generate(texts[:1], SamplingParams(max_tokens=8, ignore_eos=True))
                begun = time.monotonic()
                llm.generate(texts, params)
                phases.append((live, begun, time.monotonic()))
        passes: list[Pass] = json.loads(told.read_text())
    print("  live  passes  pass ms | by the clock: decision ms, share, rest ms | by the processor: the same")
    most = 0.0
    for live, begun, ended in phases:
        parts = [row for at, requests, row in passes if begun < at < ended and requests == live]
        if not parts:
            raise SystemExit(f"no pass had all of {live}: give more --tokens")
        print(f"{live:6}  {report(parts)}")
        most = max(most, middle(parts, DECISION, "processor") / middle(parts, VERIFY, "clock"))
    return 1 if most > SHARE_MAX else 0


@contextmanager
def engine(told: Path, arguments: argparse.Namespace) -> Iterator[LLM]:
    """One whose target's passes are told; each of its workers has a process."""
    settings = {
        "target": "demo",
        "draft": arguments.draft,
        "widen": arguments.widen,
        "policy": arguments.policy,
        "max_requests": max(arguments.live),
    }
    reader = PromptReader(EngineConfig(**settings, launcher="local"))
    target, *drafts = plan_deployment(reader.config, len(reader.tokenizer)).workers
    entry = {"entry": f"{Path(__file__).stem}:run_timed_worker", "told": str(told)}
    paths = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)  # where the target's process finds the entry
    launcher = LocalLauncher()
    try:
        launcher.start([replace(target, options={**target.options, **entry}), *drafts])
        addresses = [launcher.address("draft", draft.index) for draft in drafts]
        with LLM(
            **settings,
            launcher="attached",
            target_address=launcher.address("target", 0),
            draft_address=",".join(addresses),
        ) as llm:
            yield llm
    finally:
        launcher.close()


def report(passes: list[dict[str, float]]) -> str:
    """Medians of some passes."""
    verify = middle(passes, VERIFY, "clock")
    shown = []
    for clock in CLOCKS:
        decision, rest = (middle(passes, part, clock) for part in (DECISION, REST))
        shown.append(f"{1e3 * decision:8.3f} {100 * decision / verify:6.2f} % {1e3 * rest:8.3f}")
    return f"{len(passes):6}  {1e3 * verify:7.2f} | {' | '.join(shown)}"


def middle(passes: list[dict[str, float]], part: str, clock: str) -> float:
    """The median of what a part took, in seconds."""
    return median(row.get(key(part, clock), 0.0) for row in passes)


if __name__ == "__main__":
    sys.exit(main())
