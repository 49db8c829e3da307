"""Decode held-out prompts in every mode and compare the token ids byte for byte.

    python scripts/verify_exactness.py --prompts 100 --tokens 200

Prints one line per temperature and mode, and exits with 1 if any output differs from `alone`.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import amusd.models
from amusd import LLM, RequestOutput, SamplingParams


def decode(
    mode: str, prompts: list[str], params: list[SamplingParams], options: argparse.Namespace
) -> list[RequestOutput]:
    """Outputs of one engine over all prompts, eight at a time."""
    draft = {} if mode == "alone" else {"draft": options.draft}
    with LLM(target="demo", mode=mode, launcher=options.launcher, dtype=options.dtype, **draft) as llm:
        started = time.monotonic()
        outputs = llm.generate(prompts, params)
        seconds = time.monotonic() - started
    tokens = sum(len(output.token_ids) for output in outputs)
    print(f"  {mode:6} {tokens} tokens in {seconds:.0f} s", flush=True)
    return outputs


def main() -> int:
    """Compare async and sync with alone at temperature 0 and 1."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prompts", type=int, default=100)
    parser.add_argument("--tokens", type=int, default=200, help="of output per prompt")
    parser.add_argument("--draft", default="demo")
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"])
    parser.add_argument("--launcher", default="local", choices=["local", "ray"])
    options = parser.parse_args()
    lines = (
        (Path(amusd.models.__file__).parent / "demo" / "prompts.jsonl")
        .read_text(encoding="utf-8")
        .splitlines()
    )
    prompts = [json.loads(line)["prompt"] for line in lines[: options.prompts]]
    if len(prompts) < options.prompts:
        parser.error(f"--prompts: {options.prompts}: there are {len(prompts)}")
    failures = 0
    for temperature in (0.0, 1.0):
        print(
            f"temperature {temperature:g}, {options.dtype}: {len(prompts)} prompts, {options.tokens} tokens",
            flush=True,
        )
        params = [
            SamplingParams(temperature=temperature, seed=seed, max_tokens=options.tokens, ignore_eos=True)
            for seed in range(len(prompts))
        ]
        wanted = [output.token_ids for output in decode("alone", prompts, params, options)]
        for mode in ("sync", "async"):
            found = [output.token_ids for output in decode(mode, prompts, params, options)]
            different = [i for i, pair in enumerate(zip(wanted, found, strict=True)) if pair[0] != pair[1]]
            print(
                f"  {mode:6} {len(prompts) - len(different)} of {len(prompts)} identical to alone", flush=True
            )
            failures += len(different)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
