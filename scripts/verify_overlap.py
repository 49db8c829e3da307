"""Show from a trace that draft and target compute at once: the widened target with its larger draft.

    python scripts/verify_overlap.py

For each held-out prompt it prints the share of the decode phase in which both sides computed, once from the
slices of the written trace and once as the request's metrics have it, and the useful share. Exits with 1 if
the mean of the trace's shares is not above one half. The two devices must have the machine to themselves.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from statistics import mean
from typing import Any

import amusd.models
from amusd import LLM, RequestOutput, SamplingParams
from amusd.tracing import Event, overlap_ns

OVERLAP_MIN = 0.5
WARM_UP = SamplingParams(max_tokens=16, ignore_eos=True)


def slices(rows: list[dict[str, Any]], name: str) -> list[Event]:
    """The slices of a Chrome trace with this name, in time order."""
    found = [row for row in rows if row["ph"] == "X" and row["name"] == name]
    spans = sorted((round(row["ts"] * 1e3), round((row["ts"] + row["dur"]) * 1e3)) for row in found)
    return [Event(name, start, end, {}) for start, end in spans]


def decode_overlap(rows: list[dict[str, Any]], pass_count: int) -> float:
    """Overlap of the newest request in a trace, from its first commit (the end of a pass) to its last."""
    passes = slices(rows, "pass")[-pass_count:]
    first, last = passes[0].end_ns, passes[-1].end_ns
    return overlap_ns(passes, slices(rows, "draft"), first, last) / max(1, last - first)


def decode(llm: LLM, prompt: str, params: SamplingParams, trace: Path) -> tuple[RequestOutput, float]:
    """One request, and its overlap by the trace."""
    [output] = llm.generate(prompt, params)
    llm.write_trace(trace)
    rows = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    return output, decode_overlap(rows, output.metrics.passes)


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
    shares = []
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
                output, share = decode(llm, prompt, params, Path(folder) / "trace.json")
                shares.append(share)
                metrics = output.metrics
                print(
                    f"temperature {temperature:g}, prompt {number}:"
                    f" {metrics.tokens_per_second:6.1f} tokens/s,"
                    f" overlap {share:.2f} (metrics: {metrics.overlap:.2f}),"
                    f" useful {metrics.useful_overlap:.2f}",
                    flush=True,
                )
    print(f"mean overlap {mean(shares):.2f}, wanted: above {OVERLAP_MIN}")
    return int(mean(shares) <= OVERLAP_MIN)


if __name__ == "__main__":
    sys.exit(main())
