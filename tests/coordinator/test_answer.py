"""An answer ends where it should, and says why."""

import pytest

from amusd.coordinator.answer import Answer
from amusd.coordinator.live import LiveRequest
from amusd.logprobs import Logprob, RowLogprobs
from amusd.models import load_tokenizer
from amusd.orders import Order
from amusd.params import SamplingParams
from amusd.speculation.ledger import Ledger
from amusd.speculation.messages import Commit
from tests.cli.fakes import METRICS

OWN_END = 0


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer("demo")


def answered(tokenizer, tokens, final, rows=(), **settings):
    """The answer that some committed tokens give, as one block, and its chunk."""
    params = SamplingParams(**settings)
    ends = frozenset(params.stop_token_ids) | (frozenset() if params.ignore_eos else {OWN_END})
    prompt = tuple(tokenizer.encode("x ="))
    order = Order(7, prompt, len(prompt), 99, ends, 5, 0, params)
    request = LiveRequest(order, Ledger(7, prompt))
    request.logprobs.update(rows)
    request.ledger.on_commit(Commit(7, 1, len(prompt), tuple(tokens), ("own",) * len(tokens), final))
    answer = Answer(tokenizer, request)
    answer.add([(token, "own") for token in tokens])
    answer.end()
    output = answer.output("x =", frozenset({OWN_END}), METRICS)
    return output, answer.chunk(output)


def test_the_models_own_end_is_a_token_of_the_output_but_no_text_and_no_reason(tokenizer):
    output, _ = answered(tokenizer, [*tokenizer.encode(" self"), OWN_END], "stop", skip_special_tokens=False)
    assert output.text == " self"
    assert output.token_ids[-1] == OWN_END
    assert (output.finish_reason, output.stop_reason) == ("stop", None)


@pytest.mark.parametrize(("include", "text"), [(False, " self"), (True, " self.name")])
def test_a_stop_token_is_the_reason_and_text_only_if_that_is_wanted(tokenizer, include, text):
    *tokens, end = tokenizer.encode(" self.name")
    output, _ = answered(
        tokenizer, [*tokens, end], "stop", stop_token_ids=[end], include_stop_str_in_output=include
    )
    assert tokenizer.decode([*tokens, end]) == " self.name"
    assert output.text == (text if include else tokenizer.decode(tokens))
    assert output.stop_reason == end


def test_the_models_own_end_is_a_stop_token_where_it_is_named_and_otherwise_ignored(tokenizer):
    output, _ = answered(tokenizer, [7, OWN_END], "stop", stop_token_ids=[OWN_END], ignore_eos=True)
    assert output.stop_reason == OWN_END


def test_a_stop_string_inside_a_block_ends_tokens_text_and_logprobs(tokenizer):
    tokens = tokenizer.encode("a = 1\nb = 2\nc = 3")
    first = len(tokenizer.encode("x ="))
    rows = {first + i: RowLogprobs((token,), (-1.0,), 1) for i, token in enumerate(tokens)}
    output, chunk = answered(tokenizer, tokens, None, rows, stop="b =", logprobs=0)
    assert output.text == chunk.text == "a = 1\n"
    assert (output.finish_reason, output.stop_reason) == ("stop", "b =")
    assert len(output.token_ids) < len(tokens)
    assert len(output.logprobs) == len(chunk.logprobs) == len(output.token_ids)
    assert output.cumulative_logprob == -float(len(output.token_ids))


def test_prompt_logprobs_begin_with_none_and_name_their_tokens(tokenizer):
    prompt = tokenizer.encode("x =")
    rows = {place: RowLogprobs((prompt[place], 5), (-2.0, -1.0), 2) for place in range(1, len(prompt))}
    output, chunk = answered(tokenizer, [9], "length", rows, prompt_logprobs=1)
    assert output.prompt_logprobs[0] is None
    assert [list(row) for row in output.prompt_logprobs[1:]] == [[token, 5] for token in prompt[1:]]
    assert output.prompt_logprobs[1][prompt[1]] == Logprob(-2.0, 2, tokenizer.decode([prompt[1]]))
    assert output.logprobs is chunk.logprobs is output.cumulative_logprob is None
