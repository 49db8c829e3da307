"""Measure drafters with and without a model on text that repeats itself, against the target alone.

    python scripts/compare_drafters.py --prompts 3 --tokens 120 --repeats 5

All engines are open at once, with the target on the same device, and decode each prompt in turn, so that what
disturbs the machine disturbs all of them. Prints one table per temperature and kind of prompt:

- repeat: a piece of code, and its beginning again.
- edit: the same, with the name that it uses most renamed in the second beginning.

No engine gets a prompt twice: what it has read and written before would help its n-grams. Decode tokens/s is
all but the first commit of an output over the time from that commit to the last, averaged over the prompts of
a repeat; shown are the median over the repeats, the lowest and the highest, and the median of the ratios to
the target alone in the same repeat. Accepted through a drafter, and in brackets through nobody else, is per
output. Exits with 1 if any output differs from the target alone's.
"""

import argparse
import json
import keyword
import re
import sys
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median

import amusd.models
from amusd import LLM, SamplingParams
from amusd.devices import available, default_devices, other_cores, pin_thread
from amusd.outputs import RequestOutput

PROMPTS_FILE = Path(amusd.models.__file__).parent / "demo" / "prompts.jsonl"
TEMPERATURES = (0.0, 1.0)
NAME = re.compile(r"\b[A-Za-z_]\w{2,}\b")


@dataclass(frozen=True, slots=True)
class Run:
    """One output, and how fast it was decoded."""

    output: RequestOutput
    tokens_per_second: float


def repeated(text: str) -> str:
    """The text and its beginning again."""
    return f"{text}\n\n\n# The same once more:\n{text[: len(text) // 4]}"


def edited(text: str) -> str:
    """The text and its beginning again, where the most frequent name of that beginning is another."""
    beginning = text[: len(text) // 2]
    names = Counter(
        name for name in NAME.findall(beginning) if not keyword.iskeyword(name) and name != "self"
    )
    name = max(names, key=lambda each: (names[each], each))
    again = re.sub(rf"\b{re.escape(name)}\b", f"{name}_new", beginning)
    return f"{text}\n\n\n# The same with {name} renamed to {name}_new:\n{again}"


KINDS = {"repeat": repeated, "edit": edited}


def drafters(model: str) -> dict[str, list[str] | None]:
    """The rows of the table."""
    return {
        "alone": None,
        "prompt-lookup": ["prompt-lookup"],
        "ngram": ["ngram"],
        model: [model],
        f"{model}, prompt-lookup": [model, "prompt-lookup"],
        "all": [model, "prompt-lookup", "ngram", "phrases"],
    }


def start(draft: list[str] | None, options: argparse.Namespace) -> LLM:
    """An engine whose target is on the first device, the draft model on the last."""
    target, [device] = default_devices(available(), 1)
    return LLM(
        target="demo",
        widen=options.widen,
        dtype=options.dtype,
        launcher="local",
        target_devices=str(target),
        draft_devices=str(device),
        num_speculative_tokens=options.num_speculative_tokens,
        **({"mode": "alone"} if draft is None else {"mode": options.mode, "draft": draft}),
    )


def decode(llm: LLM, prompt: str, params: SamplingParams) -> Run:
    """Decode one prompt."""
    stamps: list[tuple[float, int]] = []
    finished = None
    for chunk in llm.stream(prompt, params):
        if chunk.token_ids:
            stamps.append((time.perf_counter(), len(chunk.token_ids)))
        finished = chunk.finished
    assert finished is not None, "a stream ends with the finished request"
    decoded = sum(count for _, count in stamps[1:])
    return Run(finished, decoded / (stamps[-1][0] - stamps[0][0]))


def show(runs: dict[str, list[list[Run]]]) -> None:
    """Print a table; `runs` are by drafters, repeat and prompt."""
    print("| drafters | tokens/s | spread | of alone | tokens per pass | acceptance | accepted through |")
    print("|---|---|---|---|---|---|---|")
    speeds = {
        name: [fmean(run.tokens_per_second for run in prompts) for prompts in repeats]
        for name, repeats in runs.items()
    }
    for name, repeats in runs.items():
        ratio = median(mine / alone for mine, alone in zip(speeds[name], speeds["alone"], strict=True))
        outputs = [run.output for prompts in repeats for run in prompts]
        length = sum(len(output.token_ids) for output in outputs) / sum(o.metrics.passes for o in outputs)
        verified = sum(drafter.verified for output in outputs for drafter in output.metrics.drafters)
        rate = fmean(output.metrics.acceptance_rate for output in outputs)
        print(
            f"| {name} | {median(speeds[name]):.1f} | {min(speeds[name]):.1f}-{max(speeds[name]):.1f} "
            f"| {ratio:.2f} | {length:.2f} | {f'{rate:.2f}' if verified else ''} | {credits_of(outputs)} |"
        )


def credits_of(outputs: list[RequestOutput]) -> str:
    """What was accepted through each drafter, and through nobody else, per output."""
    accepted, alone = Counter[str](), Counter[str]()
    for output in outputs:
        for drafter in output.metrics.drafters:
            accepted[drafter.name] += drafter.accepted
            alone[drafter.name] += drafter.accepted_alone
    count = len(outputs)
    return ", ".join(f"{name} {accepted[name] / count:.0f} ({alone[name] / count:.0f})" for name in accepted)


def measure(
    engines: dict[str, LLM], texts: list[str], temperature: float, options: argparse.Namespace
) -> tuple[dict[str, list[list[Run]]], int]:
    """Every engine on every text, by repeat; and how many outputs differ from the target alone's."""
    runs: dict[str, list[list[Run]]] = {name: [] for name in engines}
    different = 0
    for first in range(0, len(texts), options.prompts):
        for repeats in runs.values():
            repeats.append([])
        for seed, text in enumerate(texts[first : first + options.prompts], first):
            params = SamplingParams(
                temperature=temperature, seed=seed, max_tokens=options.tokens, ignore_eos=True
            )
            for name, llm in engines.items():
                runs[name][-1].append(decode(llm, text, params))
            wanted = runs["alone"][-1][-1].output.token_ids
            different += sum(repeats[-1][-1].output.token_ids != wanted for repeats in runs.values())
    return runs, different


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prompts", type=int, default=3, help="in one repeat of one table")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--temperatures", nargs="+", type=float, default=list(TEMPERATURES))
    parser.add_argument("--tokens", type=int, default=120, help="of output per prompt")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--widen", type=int, default=12288)
    parser.add_argument("--draft", default="demo-large", help="the draft model")
    parser.add_argument("--mode", default="async", choices=["async", "sync"])
    parser.add_argument("--dtype", default="auto", choices=["auto", "bfloat16", "float32"])
    parser.add_argument("--num-speculative-tokens", type=int, default=7)
    options = parser.parse_args()
    texts = [json.loads(line)["prompt"] for line in PROMPTS_FILE.read_text(encoding="utf-8").splitlines()]
    cells = [(kind, temperature) for kind in options.kinds for temperature in options.temperatures]
    size, different = options.prompts * options.repeats, 0
    if len(cells) * size > len(texts):
        parser.error(f"{len(cells)} tables of {size} prompts are more than the {len(texts)} that there are")
    with ExitStack() as stack:
        engines = {
            name: stack.enter_context(start(draft, options))
            for name, draft in drafters(options.draft).items()
        }
        target, _ = default_devices(available(), 1)
        pin_thread(other_cores(target, available()))
        for place, (kind, temperature) in enumerate(cells):
            own = [KINDS[kind](text) for text in texts[place * size : (place + 1) * size]]
            runs, wrong = measure(engines, own, temperature, options)
            different += wrong
            print(f"\n{kind}, temperature {temperature:g}\n")
            show(runs)
            print(f"\n{wrong} outputs differ from the target alone's", flush=True)
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
