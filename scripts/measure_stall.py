"""How long a pass waits for parts of new prompts, where a crowd decodes and long prompts keep coming.

    python scripts/measure_stall.py --prompt-tokens 600 --stall-ms 200

One engine, the target in this process, with `--live` requests at all times: as one ends the next in line
begins, and its prompt is read in parts between the passes of the others. For each `--stall-ms` it prints how
many waits there were, and their length in ms: from the end of a pass to the start of the next one, wherever a
part of a prompt was read in between and somebody was decoding at the first and is at the second. Beside it
how many were longer than was allowed, and than one shortest part takes, which may always be read.
"""

import argparse
import os
import sys
from dataclasses import dataclass, field
from itertools import chain, cycle, islice
from statistics import median, quantiles

from amusd import LLM, SamplingParams
from amusd.bench.prompts import embedded_prompts
from amusd.config import EngineConfig
from amusd.policies.prefilling import CHUNKS
from amusd.prompts import PromptReader
from amusd.workers.cost_files import OFF, VARIABLE
from amusd.workers.target_engine import TargetEngine

PREFILL, PASS = TargetEngine._prefill, TargetEngine._pass


@dataclass
class Noted:
    """Waits of one engine, and what its shortest parts took; in seconds."""

    waits: list[float] = field(default_factory=list)
    shortest: list[float] = field(default_factory=list)
    pass_ended: float | None = None
    read_rows: bool = False


def note_waits(noted: Noted) -> None:
    """Have the engine that is made next note its waits."""

    def noting_prefill(engine: TargetEngine, rows: int) -> None:
        noted.read_rows = noted.read_rows or bool(engine._decoding)
        started = engine.now()
        PREFILL(engine, rows)
        if rows == CHUNKS[0]:
            noted.shortest.append(engine.now() - started)

    def noting_pass(engine: TargetEngine) -> None:
        if noted.read_rows and noted.pass_ended is not None:
            noted.waits.append(engine.now() - noted.pass_ended)
        PASS(engine)
        noted.pass_ended = engine.now() if engine._decoding else None
        noted.read_rows = False

    TargetEngine._prefill = noting_prefill  # type: ignore[method-assign]
    TargetEngine._pass = noting_pass  # type: ignore[method-assign]


def main() -> int:
    """Measure, and print a line for each stall that is allowed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--widen", type=int, default=12288)
    parser.add_argument("--draft", nargs="+", default=["demo-large"])
    parser.add_argument("--live", type=int, default=8)
    parser.add_argument("--requests", type=int, default=32)
    parser.add_argument("--prompt-tokens", type=int, default=600)
    parser.add_argument("--tokens", type=int, default=48, help="of the longest answer; others have fewer")
    parser.add_argument("--stall-ms", type=float, nargs="+", default=[200.0])
    arguments = parser.parse_args()
    os.environ.setdefault(VARIABLE, OFF)
    params = [
        SamplingParams(max_tokens=arguments.tokens - index % 8 * arguments.tokens // 16, ignore_eos=True)
        for index in range(arguments.requests)
    ]
    tokenizer = PromptReader(EngineConfig(target="demo")).tokenizer
    tokens = list(chain.from_iterable(tokenizer.encode(each.text) for each in embedded_prompts()))
    prompts = [
        list(islice(cycle(tokens), start, start + arguments.prompt_tokens))
        for start in range(0, arguments.requests * 97, 97)
    ]
    print(
        "stall ms  waits: number, median, p99, most ms | longer than allowed, and than a shortest part (ms)"
    )
    for stall in arguments.stall_ms:
        noted = Noted()
        note_waits(noted)
        with LLM(
            target="demo",
            draft=arguments.draft,
            widen=arguments.widen,
            launcher="inprocess",
            max_requests=arguments.live,
            prefill_stall_ms=stall,
        ) as llm:
            llm.generate(prompts, params)
        if len(noted.waits) < 2:
            raise SystemExit("no pass waited for a prompt: give more --requests than --live")
        print(report(noted, stall / 1e3))
    return 0


def report(noted: Noted, stall_seconds: float) -> str:
    """A line about some waits."""
    waits, shortest = noted.waits, median(noted.shortest or [0.0])
    values = (median(waits), quantiles(waits, n=100)[98], max(waits))
    shown = " ".join(f"{1e3 * value:7.1f}" for value in values)
    allowed = (stall_seconds, max(stall_seconds, shortest))
    longer = " ".join(f"{sum(wait > limit for wait in waits):4}" for limit in allowed)
    return f"{1e3 * stall_seconds:8.0f}  {len(waits):6} {shown} | {longer} ({1e3 * shortest:.1f})"


if __name__ == "__main__":
    sys.exit(main())
