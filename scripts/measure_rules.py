"""Measure how often each verification rule emits a drafted sibling, and the tokens of a pass that follow.

    python scripts/measure_rules.py

Prints the table of docs/rules.md. Acceptance is taken at the same positions for all rules, those of texts
that the target writes by itself, and averaged over `--draws` drawings of siblings. Tokens per pass come from
texts that are written by the rule, each pass verifying all siblings of up to 7 positions in a row. The
optimum is that of independent, or distinct, draws from the whole of q.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import fmean, stdev

import torch
from optimum import best_hit_rate
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from amusd.models.names import find_source, quiet
from amusd.sampling import rules
from amusd.sampling.rules import Rule
from amusd.sampling.truncation import truncate

PROMPTS = Path(__file__).parent.parent / "amusd" / "models" / "demo" / "prompts.jsonl"
TEMPERATURES, COUNTS = (0.6, 1.0), (1, 2, 4)
PROMPT_TOKENS = 32
DEPTH = 7  # positions that a pass verifies
RACES = 4  # times as many drawings, for a race says only hit or miss
OPTIMA = {"optimum, independent": True, "optimum, distinct": False}


@dataclass(frozen=True)
class Position:
    """[vocab] float64 laws of both models at one place; what a rule that sends q draws from."""

    p: Tensor
    q: Tensor
    sent: Tensor


@dataclass(frozen=True)
class Step:
    """What became of one position."""

    token: int
    hit: bool


class Pair:
    """Both models, a token at a time over a batch of texts of one length."""

    def __init__(self, target: PreTrainedModel, draft: PreTrainedModel, temperature: float) -> None:
        self._models = (target, draft)
        self._temperature = temperature

    @torch.inference_mode()
    def write(self, prompts: Tensor, count: int, emit: Callable[[int, Position], Step]) -> list[list[Step]]:
        """Texts of `count` tokens after [texts, length] prompts; `emit` is asked for each text in turn."""
        caches, fresh = [None, None], prompts
        written: list[list[Step]] = [[] for _ in prompts]
        for _ in range(count):
            laws = []
            for index, model in enumerate(self._models):
                out = model(fresh, past_key_values=caches[index], use_cache=True)
                caches[index] = out.past_key_values
                laws.append((out.logits[:, -1].double() / self._temperature).softmax(-1))
            for text, (p, q) in enumerate(zip(*laws, strict=True)):
                written[text].append(emit(text, Position(p, q, truncate(q).dense(len(q)))))
            fresh = torch.tensor([[steps[-1].token] for steps in written])
        return written


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--target", default="demo")
    parser.add_argument("--draft", default="demo-large")
    parser.add_argument("--prompts", type=int, default=16, help="of the embedded ones")
    parser.add_argument("--tokens", type=int, default=96, help="after each prompt")
    parser.add_argument(
        "--every", type=int, default=6, help="positions between two that acceptance is taken at"
    )
    parser.add_argument("--draws", type=int, default=6, help="drawings of siblings at each of these")
    options = parser.parse_args()

    with quiet():
        target, draft = (_load(options.target, "target"), _load(options.draft, "draft"))
        tokenizer = AutoTokenizer.from_pretrained(find_source(options.target).path)
    read = (tokenizer(json.loads(line)["prompt"])["input_ids"] for line in PROMPTS.open(encoding="utf-8"))
    prompts = torch.tensor(
        [ids[:PROMPT_TOKENS] for ids in read if len(ids) >= PROMPT_TOKENS][: options.prompts]
    )
    rows: dict[str, list[str]] = {}
    errors: list[float] = []
    for temperature in TEMPERATURES:
        pair = Pair(target, draft, temperature)
        positions = _positions(pair, prompts, options.tokens, options.every)
        _describe(temperature, positions)
        for name, k in product(rules.RULES, COUNTS):
            rule, cells = rules.get(name), rows.setdefault(name, [])
            if k > (rule.max_siblings or k):
                cells += ["", ""]
                continue
            accepted = _accepted(rule, positions, k, options.draws)
            texts = pair.write(prompts, options.tokens, _Emitter(rule, k))
            errors.append(stdev(len(text) / _passes(text) for text in texts) / len(texts) ** 0.5)
            tokens_per_pass = sum(map(len, texts)) / sum(map(_passes, texts))
            cells += [f"{accepted:.3f}", f"{tokens_per_pass:.2f}"]
            print(f"  {name}, {k} siblings: {accepted:.3f}, {tokens_per_pass:.2f} tokens a pass", flush=True)
        for name, replace in OPTIMA.items():
            for k in COUNTS:
                best = fmean(
                    best_hit_rate(each.p.numpy(), each.q.numpy(), k, replace=replace or k == 1)
                    for each in positions
                )
                rows.setdefault(name, []).extend([f"{best:.3f}", ""])
                print(f"  {name}, {k} siblings: {best:.3f}", flush=True)
    for name, cells in rows.items():
        print(f"| {name} | " + " | ".join(cells) + " |")
    print(f"standard error of tokens per pass: {min(errors):.2f} to {max(errors):.2f}")


def _load(name: str, role: str) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(find_source(name, role).path, dtype=torch.float32).eval()


def _positions(pair: Pair, prompts: Tensor, count: int, every: int) -> list[Position]:
    """Every so many positions of texts that the target writes alone."""
    found: list[Position] = []
    asked = 0
    draws = torch.Generator().manual_seed(0)

    def emit(text: int, position: Position) -> Step:
        nonlocal asked
        if asked // len(prompts) % every == 0:
            found.append(position)
        asked += 1
        return Step(int(torch.multinomial(position.p, 1, generator=draws)), False)

    pair.write(prompts, count, emit)
    return found


def _describe(temperature: float, positions: list[Position]) -> None:
    """What the laws look like, and what is lost by sending a part of q."""
    whole = fmean(float(torch.minimum(each.p, each.q).sum()) for each in positions)
    sent = fmean(float(torch.minimum(each.p, each.sent / each.sent.sum()).sum()) for each in positions)
    tail = fmean(1.0 - float(each.sent.sum()) for each in positions)
    peak = fmean(float(each.q.max()) for each in positions)
    race = fmean(rules.RULES["race"].hit_rate(each.p, each.q) for each in positions)  # type: ignore[attr-defined]
    print(
        f"temperature {temperature:g}: {len(positions)} positions, q's largest {peak:.3f}, not sent of q"
        f" {tail:.4f}; overlap of p and q {whole:.3f}, with what is sent {sent:.3f}; race with one sibling"
        f" {race:.3f}",
        flush=True,
    )


def _accepted(rule: Rule, positions: list[Position], k: int, draws: int) -> float:
    """How often a sibling is emitted, over some drawings at each position."""
    count = {"topk": 1, "race": RACES * draws}.get(rule.name, draws)
    noise = torch.Generator().manual_seed(2)
    return fmean(_draw(rule, each, k, noise)[1] for each in positions for _ in range(count))


def _draw(rule: Rule, position: Position, k: int, source: torch.Generator) -> tuple[Step, float]:
    """One position by the rule, and the chance of a hit given the siblings (`race`: 0 or 1)."""
    p, q = position.p, position.sent if rule.needs_q else position.q
    noise = torch.empty(k, len(p), dtype=torch.float64).exponential_(generator=source).log_()
    drafts = rule.draw(q, k, noise)
    if rule.name == "race":
        law, own = p, noise[0]
    else:
        law, own = rule.law(p, q, drafts), torch.empty_like(p).exponential_(generator=source).log_()
    token = int((own - law.log()).argmin())
    hit = token in drafts
    return Step(token, hit), float(hit) if rule.name == "race" else float(law[list(set(drafts))].sum())


class _Emitter:
    """Writes by a rule."""

    def __init__(self, rule: Rule, k: int) -> None:
        self._rule, self._k = rule, k
        self._noise = torch.Generator().manual_seed(1)

    def __call__(self, text: int, position: Position) -> Step:
        return _draw(self._rule, position, self._k, self._noise)[0]


def _passes(steps: list[Step]) -> int:
    """A pass takes hits until one is missing or its depth is reached, and one token of the target's own."""
    passes = place = 0
    while place < len(steps):
        depth = 0
        while depth < DEPTH and place < len(steps) and steps[place].hit:
            depth, place = depth + 1, place + 1
        passes, place = passes + 1, place + 1
    return passes


if __name__ == "__main__":
    main()
