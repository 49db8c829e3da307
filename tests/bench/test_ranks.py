"""Ranks of tokens in an order of arrival."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from amusd.bench.ranks import DraftRanks, ranks_of
from amusd.models.names import resolve_name
from amusd.params import SamplingParams
from amusd.sampling import RowSampler

PROMPT, COUNT, SEED, VOCABULARY = [5, 6, 7, 8], 12, 3, 2048


def test_the_first_arrival_has_rank_1_and_of_equals_the_lower_id_comes_first():
    arrivals = torch.tensor([[3.0, 1.0, 2.0], [1.0, 1.0, 0.5], [1.0, 1.0, 0.5]])
    assert ranks_of(arrivals, [0, 0, 1]) == [3, 2, 3]


def race(temperature):
    """What the model itself writes, token by token, at this temperature and seed."""
    model = AutoModelForCausalLM.from_pretrained(resolve_name("demo-small"), dtype=torch.float32)
    params = SamplingParams(temperature=temperature)
    sampler = RowSampler(params, seed=SEED, vocabulary_size=VOCABULARY, prompt_length=len(PROMPT))
    log = list(PROMPT)
    for _ in range(COUNT):
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([log])).logits[0, -1:]
        log += sampler.winners(sampler.arrivals(logits, [len(log)]))
    return log[len(PROMPT) :]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_model_ranks_its_own_output_first(temperature):
    options = {"device": "cpu:0", "draft": "demo-small", "dtype": "float32", "vocabulary_size": VOCABULARY}
    draft, own = DraftRanks(options), race(temperature)
    request = {"prompt": PROMPT, "output": own, "temperature": temperature, "seed": SEED}
    assert draft.answer(request) == {"ranks": [1] * COUNT}
    assert draft.answer(request | {"output": [own[0] + 1, *own[1:]]})["ranks"][0] > 1
