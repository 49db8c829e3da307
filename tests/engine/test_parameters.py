"""Every sampling parameter, alone and combined: what the target alone writes is what every mode writes.

`AMUSD_EXAMPLES=200 pytest tests/engine/test_parameters.py` draws more combinations.
"""

import os

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import NoRepeatNGramLogitsProcessor

from amusd import InputError, SamplingParams
from tests.engine.conftest import start

EXAMPLES = int(os.environ.get("AMUSD_EXAMPLES", "5"))
TOKENS = 24
PLAIN = SamplingParams(temperature=0, max_tokens=TOKENS, ignore_eos=True)


@pytest.fixture(scope="module")
def plain(alone, held_out):
    """What the target writes without any parameter, which is what parameters are drawn to disturb."""
    return alone.generate(held_out[:3], PLAIN)


def whole(outputs):
    """Everything of the outputs that must not depend on the mode."""
    return [
        (o.index, o.token_ids, o.text, o.finish_reason, o.stop_reason, o.logprobs, o.prompt_logprobs)
        for output in outputs
        for o in output.outputs
    ]


def parameters(plain):
    """Random combinations that bite: made of the tokens and the text that the target likes to write."""
    tokens = st.sampled_from(plain.token_ids)
    grams = st.integers(0, TOKENS - 4).flatmap(
        lambda at: st.integers(1, 3).map(lambda count: plain.token_ids[at : at + count])
    )
    stops = st.integers(0, max(0, len(plain.text) - 4)).map(lambda at: plain.text[at : at + 3])
    some = st.frozensets(st.integers(0, 2047), min_size=1, max_size=300)
    options = {
        "temperature": st.sampled_from([0.0, 0.6, 1.0, 1.7]),
        "top_k": st.integers(1, 50),
        "top_p": st.floats(0.3, 1),
        "min_p": st.floats(0, 0.3),
        "typical_p": st.floats(0.2, 1),
        "presence_penalty": st.floats(-2, 2),
        "frequency_penalty": st.floats(-2, 2),
        "repetition_penalty": st.floats(0.6, 1.8),
        "logit_bias": st.dictionaries(tokens, st.floats(-9, 9), max_size=5),
        "allowed_token_ids": some.map(lambda ids: tuple(ids | set(plain.token_ids))),
        "bad_words_ids": st.lists(grams, max_size=4).map(tuple),
        "bad_words": st.lists(st.sampled_from(["self", "return", " in", ":\n", "x ="]), max_size=2).map(
            tuple
        ),
        "min_tokens": st.integers(0, TOKENS),
        "stop_token_ids": st.lists(tokens, max_size=2).map(tuple),
        "stop": st.lists(stops, max_size=2).map(lambda found: tuple(stop for stop in found if stop)),
        "include_stop_str_in_output": st.booleans(),
        "ignore_eos": st.booleans(),
        "skip_special_tokens": st.booleans(),
        "logprobs": st.integers(0, 5),
        "prompt_logprobs": st.integers(0, 2),
        "n": st.integers(1, 3),
    }
    drawn = st.fixed_dictionaries({"seed": st.integers(0, 2**32)}, optional=options)
    return drawn.map(
        lambda values: SamplingParams(
            max_tokens=TOKENS, **values | ({"n": 1} if values.get("temperature") == 0 else {})
        )
    )


few = settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow])


@few
@given(data=st.data(), which=st.integers(0, 2))
def test_any_combination_gives_the_same_in_every_mode(alone, asynchronous, synchronous, plain, data, which):
    params = data.draw(parameters(plain[which]))
    prompt = list(plain[which].prompt_token_ids)
    wanted = whole(alone.generate(prompt, params))
    for llm in (asynchronous, synchronous):
        assert whole(llm.generate(prompt, params)) == wanted


@few
@given(data=st.data())
def test_any_combination_gives_the_same_where_branches_are_rows(alone, rows, plain, data):
    params = data.draw(parameters(plain[0]))
    prompt = list(plain[0].prompt_token_ids)
    assert whole(rows.generate(prompt, params)) == whole(alone.generate(prompt, params))


def every_fourth_is_another(input_ids, scores):
    """A function of the prefix's length: the likeliest token is taken away at every fourth position."""
    if input_ids.shape[1] % 4:
        return scores
    return scores.scatter(1, scores.argmax(dim=1, keepdim=True), -torch.inf)


def no_token_twice_in_a_row(input_ids, scores):
    """A function of the prefix's last token."""
    return scores.index_fill(1, input_ids[0, -1:], -torch.inf)


PROCESSORS = [every_fourth_is_another, no_token_twice_in_a_row, NoRepeatNGramLogitsProcessor(2)]


@pytest.fixture(scope="module")
def alone_here():
    """The target alone, in this process."""
    with start("alone", launcher="inprocess") as llm:
        yield llm


@few
@given(data=st.data(), processors=st.lists(st.sampled_from(PROCESSORS), max_size=2))
def test_any_combination_with_python_processors_gives_the_same(
    alone_here, inprocess, plain, data, processors
):
    params = data.draw(parameters(plain[0])).model_copy(update={"logits_processors": tuple(processors)})
    prompt = list(plain[0].prompt_token_ids)
    assert whole(inprocess.generate(prompt, params)) == whole(alone_here.generate(prompt, params))


BITING = {
    "typical": lambda liked: {"typical_p": 0.3, "temperature": 1.2},
    "bias": lambda liked: {"logit_bias": {liked[0]: -20.0, liked[5]: 3.0}},
    "bad words": lambda liked: {"bad_words_ids": (tuple(liked[:1]), tuple(liked[4:6]))},
    "allowed": lambda liked: {"allowed_token_ids": tuple(set(liked) - {liked[0]})},
    "penalties": lambda liked: {"frequency_penalty": 1.5, "repetition_penalty": 1.6},
}


@pytest.mark.parametrize("kind", BITING)
def test_each_kind_changes_the_text_and_changes_it_alike(alone, asynchronous, plain, kind):
    values = BITING[kind](plain[1].token_ids)
    prompt = list(plain[1].prompt_token_ids)
    base = {"temperature": values.get("temperature", 0), "max_tokens": 48, "seed": 4, "ignore_eos": True}
    without, changed = SamplingParams(**base), SamplingParams(**base | values)
    [output] = alone.generate(prompt, changed)
    assert output.token_ids != alone.generate(prompt, without)[0].token_ids
    assert asynchronous.generate(prompt, changed)[0].token_ids == output.token_ids


def test_the_models_own_end_waits_for_min_tokens_even_where_it_is_ignored(alone, asynchronous, plain):
    prompt = list(plain[1].prompt_token_ids)
    [end] = alone.info()["target"]["end_tokens"][:1]
    eager = {"temperature": 0, "max_tokens": 12, "logit_bias": {end: 100.0}, "min_tokens": 5}
    for llm in (alone, asynchronous):
        [output] = llm.generate(prompt, SamplingParams(**eager))
        assert output.token_ids.index(end) == 5 == len(output.token_ids) - 1
        [ignoring] = llm.generate(prompt, SamplingParams(**eager, ignore_eos=True))
        assert ignoring.token_ids[:6] == output.token_ids
        assert len(ignoring.token_ids) == 12


def test_bad_words_and_tokens_that_are_not_allowed_do_not_appear(asynchronous, plain, held_out):
    bad = SamplingParams(temperature=1, seed=3, max_tokens=60, bad_words=["self"], ignore_eos=True)
    [output] = asynchronous.generate(held_out[1], bad)
    assert "self" not in output.text.split()
    allowed = plain[1].token_ids[:6]
    few = SamplingParams(temperature=1, seed=3, max_tokens=30, allowed_token_ids=allowed)
    assert set(asynchronous.generate(held_out[1], few)[0].token_ids) <= set(allowed)


def test_a_stop_token_ends_inside_an_accepted_block(alone, asynchronous, plain, held_out):
    for place in (1, 4, 7):
        end = plain[0].token_ids[place]
        settings = PLAIN.model_copy(update={"stop_token_ids": (end,)})
        [output] = asynchronous.generate(held_out[0], settings)
        assert output.token_ids == plain[0].token_ids[: plain[0].token_ids.index(end) + 1]
        assert (output.finish_reason, output.stop_reason) == ("stop", end)
        assert alone.generate(held_out[0], settings)[0].text == output.text
        kept = settings.model_copy(update={"include_stop_str_in_output": True})
        assert asynchronous.generate(held_out[0], kept)[0].text.startswith(output.text)


def test_n_outputs_are_those_of_the_sample_indices_and_the_first_is_that_of_one(
    alone, asynchronous, held_out
):
    params = SamplingParams(n=3, seed=8, temperature=1, max_tokens=20, prompt_logprobs=0)
    [output] = asynchronous.generate(held_out[0], params)
    assert [each.index for each in output.outputs] == [0, 1, 2]
    assert len({each.token_ids for each in output.outputs}) == 3
    assert {each.seed for each in output.outputs} == {8}
    [single] = alone.generate(held_out[0], params.model_copy(update={"n": 1}))
    assert (single.token_ids, single.text) == (output.token_ids, output.text)
    assert single.siblings == ()
    assert [each.prompt_logprobs is None for each in output.outputs] == [False, True, True]
    assert output.prompt_logprobs == single.prompt_logprobs


def test_a_stream_of_several_outputs_adds_up_to_each(asynchronous, held_out):
    params = SamplingParams(n=2, seed=8, temperature=1, max_tokens=20, logprobs=1)
    chunks = list(asynchronous.stream(held_out[0], params))
    finished = {chunk.index: chunk.finished for chunk in chunks if chunk.finished}
    assert sorted(finished) == [0, 1]
    for index, output in finished.items():
        own = [chunk for chunk in chunks if chunk.index == index]
        assert output.index == index
        assert "".join(chunk.text for chunk in own) == output.text
        assert [row for chunk in own for row in chunk.logprobs] == output.logprobs
        assert tuple(token for chunk in own for token in chunk.token_ids) == output.token_ids


def test_logprobs_are_the_models_own_whatever_is_done_to_its_law(alone, asynchronous, held_out):
    raw = SamplingParams(temperature=0, max_tokens=12, logprobs=3, ignore_eos=True)
    [output] = asynchronous.generate(held_out[2], raw)
    for token, row in zip(output.token_ids, output.logprobs, strict=True):
        assert next(iter(row)) == token
        assert row[token].rank == 1
        assert sorted((each.rank, -each.logprob) for each in row.values()) == [
            (rank, -each.logprob) for rank, each in zip((1, 2, 3), row.values(), strict=True)
        ]
    first = output.token_ids[0]
    pushed = raw.model_copy(update={"temperature": 1.0, "seed": 1, "logit_bias": {first: 100.0}})
    assert alone.generate(held_out[2], pushed)[0].logprobs[0] == output.logprobs[0]
    assert output.cumulative_logprob == sum(
        row[token].logprob for token, row in zip(output.token_ids, output.logprobs, strict=True)
    )


def test_prompt_logprobs_are_what_the_same_tokens_get_as_output(alone, held_out):
    params = SamplingParams(temperature=0, max_tokens=16, logprobs=2, ignore_eos=True)
    [output] = alone.generate(held_out[0], params)
    text = [*output.prompt_token_ids, *output.token_ids]
    [again] = alone.generate(text, params.model_copy(update={"max_tokens": 1, "prompt_logprobs": 2}))
    assert again.prompt_logprobs[0] is None
    assert len(again.prompt_logprobs) == len(text)
    for token, own, later in zip(output.token_ids, output.logprobs, again.prompt_logprobs[-16:], strict=True):
        assert later == own
        assert later[token].decoded_token == own[token].decoded_token
    [one] = alone.generate([5], params.model_copy(update={"prompt_logprobs": 0}))
    assert one.prompt_logprobs == [None]


def test_prompt_logprobs_of_a_long_prompt_come_in_chunks(alone, asynchronous):
    prompt = [(7 * i) % 2000 + 20 for i in range(700)]
    params = SamplingParams(temperature=0, max_tokens=2, prompt_logprobs=1)
    [output] = asynchronous.generate(prompt, params)
    assert [token in row for token, row in zip(prompt[1:], output.prompt_logprobs[1:], strict=True)] == [
        True
    ] * 699
    assert alone.generate(prompt, params)[0].prompt_logprobs == output.prompt_logprobs


def test_without_max_tokens_the_output_ends_where_the_model_does():
    with start("alone", launcher="inprocess", max_model_len=256) as llm:
        params = SamplingParams(temperature=0, max_tokens=None, ignore_eos=True)
        [output] = llm.generate([9] * 242, params)
        assert len(output.token_ids) == 14
        assert output.finish_reason == "length"


def test_functions_are_refused_by_name_where_the_target_is_another_process(asynchronous):
    params = SamplingParams(logits_processors=[lambda ids, scores: scores])
    for ask in (asynchronous.generate, asynchronous.stream):
        with pytest.raises(InputError, match=r"^logits_processors: 1 of them: .*launcher inprocess"):
            ask("x", params)


def test_what_leaves_nothing_to_choose_from_is_refused(alone):
    params = SamplingParams(allowed_token_ids=[5], bad_words_ids=[[5]])
    with pytest.raises(InputError, match=r"^allowed_token_ids: "):
        alone.generate("x", params)
