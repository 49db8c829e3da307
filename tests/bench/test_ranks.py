"""Ranks of tokens in an order of arrival."""

import torch

from amusd.bench.ranks import DraftRanks, ranks_of


def test_the_first_arrival_has_rank_1_and_of_equals_the_lower_id_comes_first():
    arrivals = torch.tensor([[3.0, 1.0, 2.0], [1.0, 1.0, 0.5], [1.0, 1.0, 0.5]])
    assert ranks_of(arrivals, [0, 0, 1]) == [3, 2, 3]


def test_a_model_ranks_its_own_greedy_output_first():
    options = {"device": "cpu:0", "draft": "demo-small", "dtype": "float32", "vocabulary_size": 2048}
    draft = DraftRanks(options)
    prompt, count = [5, 6, 7, 8], 12
    own = draft._model.generate(
        torch.tensor([prompt]), attention_mask=torch.ones(1, 4), max_new_tokens=count, do_sample=False,
        eos_token_id=None, pad_token_id=0,
    )[0, 4:].tolist()  # fmt: skip
    request = {"prompt": prompt, "output": own, "temperature": 0.0, "seed": 3}
    assert draft.answer(request) == {"ranks": [1] * count}
    assert draft.answer(request | {"output": [own[0] + 1, *own[1:]]})["ranks"][0] > 1
