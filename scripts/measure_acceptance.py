"""Measure the acceptance law of a pair of models, as a scenario of `amusd simulate` takes it.

    python scripts/measure_acceptance.py --temperature 1 --prompts 16 --tokens 160

The target continues prompts by its own race; the draft then looks at each position of that text with the same
noise. What is printed is YAML for `drafters.acceptance`. The pair must be small enough for one process.

- rate, runners_up: how often the candidate of each rank was the target's token, where those before missed.
- sharpness, bias: of a logistic regression of the first candidate's hits on the log odds of its score.
- spread: the variance of the chances that the regression gives, over that of a coin.
- persistence: the one with which chains of seven survive as often as they did.
"""

import argparse
import json
import math
from pathlib import Path
from statistics import fmean, pvariance

import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from amusd.models.names import find_source, quiet
from amusd.params import SamplingParams
from amusd.sampling import RowSampler
from amusd.simulation.law import Acceptance, AcceptanceLaw
from amusd.simulation.text import TrueText
from amusd.speculation.messages import RequestId

PROMPTS = Path(__file__).parent.parent / "amusd" / "models" / "demo" / "prompts.jsonl"
RANKS, CHAIN = 4, 7
PROMPT_TOKENS_MAX = 96
LAW_POSITIONS = 6000
NEWTON_STEPS = 20

Place = tuple[int | None, float]
"""Rank of the target's token among the candidates, and the score of the first of them."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--target", default="demo")
    parser.add_argument("--draft", default="demo-large")
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--prompts", type=int, default=16, help="of the embedded ones")
    parser.add_argument("--tokens", type=int, default=160, help="after each prompt")
    options = parser.parse_args()

    with quiet():
        target, draft = _load(options.target, "target"), _load(options.draft, "draft")
        tokenizer = AutoTokenizer.from_pretrained(find_source(options.target).path)
    params = SamplingParams(temperature=options.temperature)
    texts = []
    for index, line in enumerate(PROMPTS.read_text("utf-8").splitlines()[: options.prompts]):
        prompt = tokenizer(json.loads(line)["prompt"])["input_ids"][:PROMPT_TOKENS_MAX]
        sampler = RowSampler(
            params,
            seed=index,
            vocabulary_size=min(target.config.vocab_size, draft.config.vocab_size),
            prompt_length=len(prompt),
        )
        text = _continue(target, sampler, prompt, options.tokens)
        texts.append(_look_at(draft, sampler, text, len(prompt)))
    law = _fit(texts, f"measured: scripts/measure_acceptance.py, {vars(options)}")
    print(yaml.safe_dump({"acceptance": law.model_dump()}, sort_keys=False), end="")


def _load(name: str, role: str) -> PreTrainedModel:
    source = find_source(name, role)
    model = AutoModelForCausalLM.from_pretrained(source.path, dtype=torch.float32)
    return model.eval()


@torch.inference_mode()
def _continue(model: PreTrainedModel, sampler: RowSampler, prompt: list[int], count: int) -> list[int]:
    """The prompt and the target's own next tokens."""
    text, cache, fresh = list(prompt), None, list(prompt)
    for _ in range(count):
        out = model(torch.tensor([fresh]), past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        fresh = sampler.winners(sampler.arrivals(out.logits[0, -1:], [len(text)]))
        text += fresh
    return text


@torch.inference_mode()
def _look_at(model: PreTrainedModel, sampler: RowSampler, text: list[int], start: int) -> list[Place]:
    """What the draft makes of each position from `start` on."""
    logits = model(torch.tensor([text])).logits[0, start - 1 : -1]  # [positions, vocabulary]
    candidates = sampler.candidates(sampler.arrivals(logits, range(start, len(text))), RANKS)
    return [
        (next((rank for rank, (guess, _) in enumerate(found) if guess == token), None), found[0][1])
        for token, found in zip(text[start:], candidates, strict=True)
    ]


def _fit(texts: list[list[Place]], source: str) -> Acceptance:
    places = [place for text in texts for place in text]
    missed, shares = len(places), []
    for rank in range(RANKS):
        hits = sum(found == rank for found, _ in places)
        shares.append(hits / missed)
        missed -= hits
    rate, *runners_up = shares
    odds = [_log_odds(score) for _, score in places]
    offset, slope = _regress(odds, [found == 0 for found, _ in places])
    chances = [1 / (1 + math.exp(-offset - slope * each)) for each in odds]
    law = Acceptance(
        source=source,
        rate=round(rate, 3),
        spread=round(pvariance(chances) / (rate * (1 - rate)), 2),
        runners_up=[round(share, 2) for share in runners_up],
        sharpness=round(1 / slope, 2),
        bias=round(-offset / slope, 2),
    )
    survival = _survival([[found == 0 for found, _ in text] for text in texts])
    return min(
        (law.model_copy(update={"persistence": tenth / 10}) for tenth in range(10)),
        key=lambda candidate: abs(_survival([_law_hits(candidate)]) - survival),
    )


def _log_odds(share: float) -> float:
    inside = min(max(share, 1e-6), 1 - 1e-6)
    return math.log(inside / (1 - inside))


def _regress(odds: list[float], hits: list[bool]) -> tuple[float, float]:
    """Offset and slope of a logistic regression, by Newton's method."""
    x = torch.tensor([[1.0, each] for each in odds], dtype=torch.float64)  # [places, 2]
    y = torch.tensor(hits, dtype=torch.float64)
    weights = torch.tensor([0.0, 1.0], dtype=torch.float64)
    for _ in range(NEWTON_STEPS):
        chances = torch.sigmoid(x @ weights)
        curvature = x.T @ (x * (chances * (1 - chances))[:, None])
        weights += torch.linalg.solve(curvature, x.T @ (y - chances))
    return float(weights[0]), float(weights[1])


def _law_hits(law: Acceptance) -> list[bool]:
    """Whether the first candidate of a law hits, at many positions."""
    text, request = TrueText(0), RequestId(1)
    guesses = AcceptanceLaw(law, text)
    return [
        guesses.candidates(request, position, (), 1)[0][0] == text.token(request, position)
        for position in range(LAW_POSITIONS)
    ]


def _survival(texts: list[list[bool]]) -> float:
    """How often a chain of seven first candidates is right as a whole."""
    return fmean(all(hits[at : at + CHAIN]) for hits in texts for at in range(len(hits) - CHAIN))


if __name__ == "__main__":
    main()
