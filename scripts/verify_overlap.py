"""Show from a trace that draft and target compute at once: the widened target with its larger draft.

    python scripts/verify_overlap.py

For each held-out prompt it prints the share of the decode phase in which both sides computed, once from the
slices of the written trace and once as the request's metrics have it, and the useful share; the share in
which the target computed; how many corrections a branch had foreseen; and what crossed the loopback device
per output token, all streams, headers and acknowledgements included. Exits with 1 if the mean of the trace's
shares is not above one half. The two devices must have the machine to themselves.
"""

import argparse
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import amusd.models
from amusd import LLM, RequestOutput, SamplingParams
from amusd.tracing import Event, overlap_ns

OVERLAP_MIN = 0.5
DEVICES = Path("/proc/net/dev")
WARM_UP = SamplingParams(max_tokens=16, ignore_eos=True)


def slices(rows: list[dict[str, Any]], name: str) -> list[Event]:
    """The slices of a Chrome trace with this name, in time order."""
    found = [row for row in rows if row["ph"] == "X" and row["name"] == name]
    spans = sorted((round(row["ts"] * 1e3), round((row["ts"] + row["dur"]) * 1e3)) for row in found)
    return [Event(name, start, end, {}) for start, end in spans]


@dataclass(frozen=True)
class Seen:
    """One request, and what its trace and the loopback device say: shares of the decode phase, bytes."""

    output: RequestOutput
    overlap: float
    busy: float
    loopback_bytes: int


def loopback_bytes() -> int:
    """What was received over the loopback device since the machine started."""
    [line] = [line for line in DEVICES.read_text().splitlines() if line.strip().startswith("lo:")]
    return int(line.split(":")[1].split()[0])


def decode(llm: LLM, prompt: str, params: SamplingParams, trace: Path) -> Seen:
    """Decode one request; its decode phase goes from its first commit (the end of a pass) to its last."""
    before = loopback_bytes()
    [output] = llm.generate(prompt, params)
    crossed = loopback_bytes() - before
    llm.write_trace(trace)
    rows = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    passes = slices(rows, "pass")[-output.metrics.passes :]
    first, last = passes[0].end_ns, passes[-1].end_ns
    window = max(1, last - first)
    both = overlap_ns(passes, slices(rows, "draft"), first, last)
    return Seen(output, both / window, overlap_ns(passes, passes, first, last) / window, crossed)


def main() -> int:
    """Decode the prompts one after the other, at temperature 0 and at 1."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prompts", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=150, help="of output per prompt")
    parser.add_argument("--widen", type=int, default=12288, help="FFN neurons of the target")
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"])
    options = parser.parse_args()
    file = Path(amusd.models.__file__).parent / "demo" / "prompts.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines()[: options.prompts]
    found: list[Seen] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        LLM(
            target="demo",
            draft="demo-large",
            widen=options.widen,
            dtype=options.dtype,
            launcher="local",
            max_requests=1,
        ) as llm,
    ):
        llm.generate("def warm_up():", WARM_UP)
        for temperature in (0.0, 1.0):
            for number, line in enumerate(lines):
                params = SamplingParams(
                    temperature=temperature, seed=number, max_tokens=options.tokens, ignore_eos=True
                )
                prompt = json.loads(line)["prompt"]
                seen = decode(llm, prompt, params, Path(folder) / "trace.json")
                found.append(seen)
                metrics = seen.output.metrics
                print(
                    f"temperature {temperature:g}, prompt {number}:"
                    f" {metrics.tokens_per_second:6.1f} tokens/s,"
                    f" overlap {seen.overlap:.2f} (metrics: {metrics.overlap:.2f}),"
                    f" useful {metrics.useful_overlap:.2f}, target busy {seen.busy:.2f},"
                    f" foreseen {metrics.foreseen_corrections} of {metrics.corrections},"
                    f" {seen.loopback_bytes / options.tokens:.0f} bytes a token",
                    flush=True,
                )
    overlap = mean(seen.overlap for seen in found)
    print(f"mean busy {mean(seen.busy for seen in found):.2f}")
    print(f"mean overlap {overlap:.2f}, wanted: above {OVERLAP_MIN}")
    return int(overlap <= OVERLAP_MIN)


if __name__ == "__main__":
    sys.exit(main())
