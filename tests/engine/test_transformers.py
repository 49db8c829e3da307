"""In float32 every mode writes what `transformers.generate` writes, drafters without a model included."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from amusd import SamplingParams
from amusd.models.names import DEMO_FOLDER
from tests.engine.conftest import start, start_here

TOKENS = 40
GREEDY = SamplingParams(temperature=0, max_tokens=TOKENS)
RACE = SamplingParams(temperature=1, seed=11, max_tokens=TOKENS)
WAYS = {
    "sync": {"mode": "sync"},
    "async, with lookups": {"mode": "async", "draft": ["demo-large", "prompt-lookup", "ngram", "phrases"]},
}


@pytest.fixture(scope="module")
def wanted(repeating):
    tokenizer = AutoTokenizer.from_pretrained(DEMO_FOLDER / "target")
    model = AutoModelForCausalLM.from_pretrained(DEMO_FOLDER / "target", dtype=torch.float32)
    found = []
    for prompt in repeating:
        ids = tokenizer(prompt, return_tensors="pt")
        output = model.generate(**ids, max_new_tokens=TOKENS, do_sample=False, pad_token_id=0)
        found.append(tuple(output[0, ids["input_ids"].shape[1] :].tolist()))
    return found


@pytest.fixture(scope="module")
def alone():
    with start("alone", dtype="float32", launcher="inprocess") as llm:
        yield llm


def test_the_target_alone_writes_what_transformers_writes(alone, repeating, wanted):
    assert [output.token_ids for output in alone.generate(repeating, GREEDY)] == wanted


@pytest.mark.parametrize("way", WAYS)
def test_drafts_change_no_token_in_float32_either(way, alone, repeating, wanted):
    with start_here(**WAYS[way], dtype="float32") as llm:
        greedy, race = (llm.generate(repeating, params) for params in (GREEDY, RACE))
    assert [output.token_ids for output in greedy] == wanted
    drawn = alone.generate(repeating, RACE)
    assert [output.token_ids for output in race] == [output.token_ids for output in drawn]
