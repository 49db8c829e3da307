"""The target in this process: Python logits processors, and the same text."""

import gc
import os
import threading

import pytest
import torch
from transformers.generation.logits_process import NoRepeatNGramLogitsProcessor

from amusd import InputError, SamplingParams
from tests.engine.conftest import start


def test_the_text_is_that_of_a_target_in_a_process_of_its_own(asynchronous, inprocess, held_out):
    for params in (
        SamplingParams(temperature=0, max_tokens=40, ignore_eos=True),
        SamplingParams(seed=3, max_tokens=40, top_p=0.9, n=2, logprobs=2),
    ):
        for one, other in zip(
            asynchronous.generate(held_out[:2], params), inprocess.generate(held_out[:2], params), strict=True
        ):
            assert [each.token_ids for each in one.outputs] == [each.token_ids for each in other.outputs]
            assert [each.logprobs for each in one.outputs] == [each.logprobs for each in other.outputs]


def test_what_passes_cost_is_kept_from_one_life_to_the_next(tmp_path, monkeypatch, held_out):
    monkeypatch.setenv("AMUSD_COST_FILES", str(tmp_path))
    params = SamplingParams(temperature=0, max_tokens=40, ignore_eos=True)
    with start("alone", launcher="inprocess") as llm:
        llm.generate(held_out[0], params)
    assert len(list(tmp_path.iterdir())) == 1
    with start("alone", launcher="inprocess") as llm:
        assert "costs learned from 40 earlier passes" in llm.info()["target"]["summary"]


def without_four(input_ids, scores):
    """Every fourth token is the newline's; a function of the prefix alone."""
    if input_ids.shape[1] % 4 == 0:
        return torch.full_like(scores, -torch.inf).index_fill(1, torch.tensor([199]), 0.0)
    return scores


def test_a_processor_is_applied_at_every_row_with_its_own_prefix(inprocess, held_out):
    [output] = inprocess.generate(
        held_out[0],
        SamplingParams(temperature=0, max_tokens=40, ignore_eos=True, logits_processors=[without_four]),
    )
    first = len(output.prompt_token_ids)
    assert {token for at, token in enumerate(output.token_ids, first) if at % 4 == 0} == {199}
    assert {token for at, token in enumerate(output.token_ids, first) if at % 4} != {199}


def test_transformers_own_processors_can_be_used_and_write_the_same_alone(inprocess, held_out):
    params = SamplingParams(
        seed=2,
        max_tokens=60,
        ignore_eos=True,
        temperature=0.7,
        logits_processors=[NoRepeatNGramLogitsProcessor(2)],
    )
    [output] = inprocess.generate(held_out[1], params)
    text = [*output.prompt_token_ids, *output.token_ids]
    first = len(output.prompt_token_ids)
    before = [tuple(text[i : i + 2]) for i in range(len(text) - 1)]
    assert all(before[i] not in before[:i] for i in range(first - 1, len(before)))
    assert output.metrics.passes < 60, "drafts were accepted beside it"
    with start("alone", launcher="inprocess") as llm:
        assert llm.generate(held_out[1], params)[0].token_ids == output.token_ids


def test_a_processor_that_fails_ends_its_own_request_and_no_other(inprocess, held_out):
    def broken(input_ids, scores):
        if input_ids.shape[1] > 30:
            raise KeyError("no such thing")
        return scores

    prompts = [[9] * 20, held_out[0]]
    params = [
        SamplingParams(max_tokens=40, logits_processors=[broken]),
        SamplingParams(temperature=0, max_tokens=20, ignore_eos=True),
    ]
    with pytest.raises(InputError, match=r"^logits_processors: .*KeyError"):
        inprocess.generate(prompts, params)
    assert len(inprocess.generate(prompts[1], params[1])[0].token_ids) == 20


def test_everything_that_is_kept_for_a_request_is_gone_after_it(inprocess, held_out):
    inprocess.generate(held_out[0], SamplingParams(max_tokens=4, logits_processors=[without_four]))
    assert inprocess._engine._launcher.processors == {}


def test_an_engine_that_is_closed_leaves_no_thread_and_no_open_file(inprocess, held_out, eventually):
    def held():
        gc.collect()
        return {thread.name for thread in threading.enumerate()}, len(os.listdir("/proc/self/fd"))

    before = held()  # the other engine has loaded what stays for good
    with start("alone", launcher="inprocess") as llm:
        llm.generate(held_out[0], SamplingParams(temperature=0, max_tokens=2))
    del llm
    eventually(lambda: held() == before)  # gRPC closes its sockets on threads of its own
