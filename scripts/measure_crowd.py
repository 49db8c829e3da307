"""Where a target's time goes while so many requests are live: passes, prompts, and the rest.

    python scripts/measure_crowd.py [--live 16] [--requests 48] [--repeats 3]
    python scripts/measure_crowd.py --live 1 --draft demo-large prompt-lookup

The same requests (mixed prompts, temperatures and lengths, as in `amusd bench --load`) are decoded by the
target alone, by `goodput`, and by `fixed` with each of `--ks`, in turn; as one ends the next begins. Printed
of each, from the traces, are tokens/s in all; seconds of passes, of chunks of prompts, and of the target's
rest; nodes that a pass verified of a request; the drafter's steps and their seconds; tokens per second of
passes. Last comes the median of tokens/s over the target alone. All texts have to be equal.
"""

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from amusd import LLM
from amusd.bench.load.jobs import Job, mixed_jobs
from amusd.bench.prompts import Prompt, choose_prompts
from amusd.devices import available, other_cores, parse_device, pin_process

ALONE = "alone"


@dataclass
class Run:
    """One contender's turn.

    Attributes:
        texts: token ids by request.
        events: of all workers meanwhile, as a Chrome trace has them.
    """

    texts: list[tuple[int, ...]]
    seconds: float
    events: list[dict[str, Any]]

    @property
    def rate(self) -> float:
        """Tokens per second."""
        return sum(map(len, self.texts)) / self.seconds

    def named(self, name: str, argument: str) -> list[dict[str, Any]]:
        """Slices of one kind, told from others of that name by an argument."""
        return [event for event in self.events if event["name"] == name and argument in event["args"]]

    def line(self) -> str:
        """What it was spent on."""
        passes, chunks = self.named("pass", "verified"), self.named("prefill", "rows")
        steps = self.named("draft", "rows")
        in_passes, in_chunks, in_steps = (
            sum(event["dur"] for event in events) / 1e6 for events in (passes, chunks, steps)
        )
        verified = sum(event["args"]["verified"] for event in passes)
        rows = sum(event["args"]["requests"] for event in passes)
        tokens = sum(map(len, self.texts))
        return (
            f"{self.rate:7.1f} tokens/s in {self.seconds:5.1f} s: {len(passes)} passes {in_passes:5.2f} s, "
            f"{len(chunks)} chunks {in_chunks:5.2f} s, rest {self.seconds - in_passes - in_chunks:5.2f} s; "
            f"verified {verified / rows:4.2f}; {len(steps)} steps {in_steps:5.2f} s; "
            f"{tokens / in_passes:6.1f} tokens per second of passes"
        )


def decode(llm: LLM, prompts: Sequence[Prompt], jobs: Sequence[Job], live: int) -> Run:
    """Decode all jobs, so many at a time."""
    texts: list[tuple[int, ...]] = [()] * len(jobs)
    waiting = iter(enumerate(jobs))
    lock = threading.Lock()

    def place() -> None:
        while True:
            with lock:
                index, job = next(waiting, (-1, jobs[0]))
            if index < 0:
                return
            *_, last = llm.stream(prompts[job.prompt].text, job.params)
            texts[index] = tuple(last.finished.token_ids)

    places = [threading.Thread(target=place) for _ in range(live)]
    started = time.perf_counter()
    for each in places:
        each.start()
    for each in places:
        each.join()
    seconds = time.perf_counter() - started
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "trace.json"
        llm.write_trace(file)
        events = [event for event in json.loads(file.read_text())["traceEvents"] if "dur" in event]
    since = max(event["ts"] + event["dur"] for event in events) - seconds * 1e6
    return Run(texts, seconds, [event for event in events if event["ts"] >= since])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--live", type=int, default=16)
    parser.add_argument("--requests", type=int, default=48)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--ks", default="", help="numbers of drafted tokens, such as 1,3 (default: none)")
    parser.add_argument("--tokens", type=int, default=96, help="of the longest answer (default 96)")
    parser.add_argument("--widen", type=int, default=12288)
    parser.add_argument("--draft", nargs="+", default=["demo-large"], help="more than one draft together")
    options = parser.parse_args()
    cores = available().cores
    target = f"cpu:{cores[0]}"
    pair = {"target": "demo", "widen": options.widen, "target_devices": target, "launcher": "local"}
    drafted = {"mode": "async", "draft": options.draft, "draft_devices": f"cpu:{cores[-1]}"}
    contenders: dict[str, dict[str, Any]] = {ALONE: {"mode": "alone"}, "goodput": drafted}
    for k in map(int, filter(None, options.ks.split(","))):
        contenders[f"fixed k={k}"] = drafted | {"policy": "fixed", "num_speculative_tokens": k}
    prompts = choose_prompts(None, 12)
    jobs = mixed_jobs(options.requests, len(prompts), (0.0, 1.0), options.tokens, 7)
    with ExitStack() as stack:
        engines = {
            name: stack.enter_context(LLM(max_requests=options.live, **pair, **settings))
            for name, settings in contenders.items()
        }
        pin_process(other_cores(parse_device(target), available()))
        rates: dict[str, list[float]] = {name: [] for name in engines}
        for repeat in range(options.repeats + 1):
            expected = None
            for name, llm in engines.items():
                run = decode(llm, prompts, jobs, options.live)
                expected = expected or run.texts
                if run.texts != expected:
                    raise SystemExit(f"{name} wrote other texts than the target alone")
                if repeat:  # the first is to warm up
                    rates[name].append(run.rate)
                    print(f"{name:>10}: {run.line()}", flush=True)
        for name in engines.keys() - {ALONE}:
            ratios = [rate / base for rate, base in zip(rates[name], rates[ALONE], strict=True)]
            print(f"{name} over {ALONE}: {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
