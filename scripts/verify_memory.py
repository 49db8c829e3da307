"""Decode many short requests in a row and show that the memory of every process stays flat.

    python scripts/verify_memory.py --requests 1000

Prints the resident memory of each process every tenth of the way, in MiB, and exits with 1 if any grew by
more than 5 % after the first third, in which pools and traces fill.
"""

import argparse
import os
import sys

import psutil

from amusd import LLM, SamplingParams

GROWTH_MAX = 1.05


def main() -> int:
    """Run the requests, four at a time, each with a prompt of its own."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=1000)
    options = parser.parse_args()
    history: list[dict[str, float]] = []
    with LLM(target="demo", draft="demo", launcher="local") as llm:
        names = {"client": os.getpid(), **{name: details["pid"] for name, details in llm.info().items()}}
        for done in range(0, options.requests, 4):
            prompts = [f"def function_{number}(argument):\n    return " for number in range(done, done + 4)]
            llm.generate(prompts, SamplingParams(temperature=1, seed=done, max_tokens=16, ignore_eos=True))
            if done % max(4, options.requests // 10 // 4 * 4) == 0 or done + 4 >= options.requests:
                sizes = {name: psutil.Process(pid).memory_info().rss / 2**20 for name, pid in names.items()}
                history.append(sizes)
                shown = "  ".join(f"{name} {size:7.1f}" for name, size in sizes.items())
                print(f"{done + 4:5} requests  {shown}", flush=True)
    settled = history[len(history) // 3]
    return int(any(size > GROWTH_MAX * settled[name] for name, size in history[-1].items()))


if __name__ == "__main__":
    sys.exit(main())
