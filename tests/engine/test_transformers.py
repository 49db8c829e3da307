"""In float32 every mode writes what `transformers.generate` writes."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from amusd import SamplingParams
from amusd.models.names import DEMO_FOLDER
from tests.engine.conftest import start

TOKENS = 40


@pytest.fixture(scope="module")
def wanted(held_out):
    tokenizer = AutoTokenizer.from_pretrained(DEMO_FOLDER / "target")
    model = AutoModelForCausalLM.from_pretrained(DEMO_FOLDER / "target", dtype=torch.float32)
    found = []
    for prompt in held_out[:3]:
        ids = tokenizer(prompt, return_tensors="pt")
        output = model.generate(**ids, max_new_tokens=TOKENS, do_sample=False, pad_token_id=0)
        found.append(tuple(output[0, ids["input_ids"].shape[1] :].tolist()))
    return found


@pytest.mark.parametrize("mode", ["alone", "sync", "async"])
def test_greedy_float32_equals_transformers_token_for_token(mode, held_out, wanted):
    with start(mode, dtype="float32") as llm:
        outputs = llm.generate(held_out[:3], SamplingParams(temperature=0, max_tokens=TOKENS))
    assert [output.token_ids for output in outputs] == wanted
