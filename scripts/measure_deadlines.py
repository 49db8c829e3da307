"""What a deadline is worth to the request that has it, among others that have none.

    python scripts/measure_deadlines.py [--streams 6] [--repeats 10] [--share 0.45]

Streams are decoded together, and their tokens counted at a moment that is too early for them. In every second
run the first has its deadline then.
"""

import argparse
import json
import os
import threading
import time
from pathlib import Path
from statistics import mean, median

import amusd.models
from amusd import LLM, SamplingParams

PROMPTS = Path(amusd.models.__file__).parent / "demo" / "prompts.jsonl"
PARAMS = SamplingParams(temperature=0, max_tokens=300, ignore_eos=True)


def decode(llm: LLM, prompts: list[str], until: float, deadline_seconds: float | None) -> list[int]:
    """The tokens that each stream has after `until` seconds; all are left then."""
    counts = [0] * len(prompts)
    started = time.monotonic()

    def read(index: int) -> None:
        wish = None if index else deadline_seconds
        for chunk in llm.stream(prompts[index], PARAMS, deadline_seconds=wish):
            if time.monotonic() - started > until:
                return
            counts[index] += len(chunk.token_ids)

    readers = [threading.Thread(target=read, args=(index,)) for index in range(len(prompts))]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    return counts


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--streams", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--target", default="demo")
    parser.add_argument("--draft", default="demo-large")
    parser.add_argument("--share", type=float, default=0.45, help="of the time that all take (default 0.45)")
    options = parser.parse_args()
    lines = PROMPTS.read_text(encoding="utf-8").splitlines()
    prompts = [json.loads(line)["prompt"] for line in lines][: options.streams]
    cores = sorted(os.sched_getaffinity(0))
    devices = {"target_devices": f"cpu:{cores[0]}", "draft_devices": f"cpu:{cores[-1]}"}
    found: dict[str, list[tuple[int, float]]] = {"without": [], "with": []}
    with LLM(target=options.target, draft=options.draft, launcher="local", **devices) as llm:
        for _ in range(2):  # the first is to warm up
            started = time.monotonic()
            llm.generate(prompts, PARAMS)
            until = options.share * (time.monotonic() - started)
        for _ in range(options.repeats):
            for name, deadline in (("without", None), ("with", until)):
                first, *others = decode(llm, prompts, until, deadline)
                found[name].append((first, mean(others)))
    print(f"tokens after {until:.2f} s, median and range of {options.repeats} runs")
    for name, runs in found.items():
        own, others = (
            f"{median(each):.0f} ({min(each):.0f}-{max(each):.0f})" for each in zip(*runs, strict=True)
        )
        print(f"{name:>7} a deadline: {own}; each of the others: {others}")


if __name__ == "__main__":
    main()
