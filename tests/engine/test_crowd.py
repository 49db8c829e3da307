"""More requests than the target has cells for: they wait and are set aside, and the text stays what it is."""

import torch

from amusd import SamplingParams
from amusd.models import ModelSpec, load_config, load_tokenizer
from amusd.models.cells import full_cells
from amusd.models.packing import has_bfloat16_products
from amusd.models.sizes import cells_bytes
from tests.engine.conftest import start_here

LENGTH, TOKENS = 455, 75  # a prompt has room within 512 cells, its text has not


def test_a_crowd_with_few_cells_gets_the_bytes_that_each_gets_alone(alone, held_out):
    tokens = load_tokenizer("demo").encode("\n\n".join(held_out[:30]))
    prompts = [tokens[start : start + LENGTH] for start in range(0, 3 * LENGTH, LENGTH)]
    params = [
        SamplingParams(temperature=index % 2, seed=index, max_tokens=TOKENS, ignore_eos=True, logprobs=1)
        for index in range(len(prompts))
    ]
    dtype = torch.bfloat16 if has_bfloat16_products() else torch.float32
    cell = cells_bytes(load_config(ModelSpec("demo")), 1, 1, dtype, block=1)
    few = full_cells(3, 512) * cell  # of three requests until one of them grows beyond 512 cells
    with start_here("async", max_model_len=1024, kv_cache_memory_bytes=few) as llm:
        crowded = llm.generate(prompts, params)
    preemptions = [output.metrics.preemptions for output in crowded]
    assert (preemptions[0], sum(preemptions) > 0) == (0, True), preemptions
    for output, wanted in zip(crowded, alone.generate(prompts, params), strict=True):
        assert (output.token_ids, output.logprobs) == (wanted.token_ids, wanted.logprobs)
