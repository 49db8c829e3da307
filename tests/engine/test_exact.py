"""The text is the target's own, whatever the drafters do."""

import pytest

from amusd import SamplingParams
from amusd.policies.table import best_table
from tests.engine.conftest import start_here

SETTINGS = [
    SamplingParams(temperature=0, max_tokens=60, ignore_eos=True),
    SamplingParams(temperature=1, seed=11, max_tokens=60),
    SamplingParams(temperature=0.7, top_p=0.9, top_k=40, min_p=0.02, seed=12, max_tokens=60),
    SamplingParams(temperature=1, seed=13, max_tokens=60, presence_penalty=0.5, repetition_penalty=1.2),
]


@pytest.fixture(scope="module")
def wanted(alone, held_out):
    """What the target alone writes, by setting."""
    found = [[output.token_ids for output in alone.generate(held_out[:3], params)] for params in SETTINGS]
    assert all(map(all, found))
    return found


@pytest.mark.parametrize("setting", range(len(SETTINGS)), ids=["greedy", "race", "warped", "penalised"])
def test_async_sync_and_rows_write_the_bytes_that_the_target_alone_writes(
    asynchronous, synchronous, rows, held_out, wanted, setting
):
    for llm in (asynchronous, synchronous, rows):
        outputs = llm.generate(held_out[:3], SETTINGS[setting])
        assert [output.token_ids for output in outputs] == wanted[setting]


def test_the_schedule_of_a_chain_writes_the_same_bytes(held_out, wanted):
    with start_here("amusd", max_requests=2) as llm:
        for params, tokens in zip(SETTINGS, wanted, strict=True):
            assert [output.token_ids for output in llm.generate(held_out[:3], params)] == tokens


@pytest.mark.parametrize("policy", ["fixed", "table"])
def test_other_policies_write_the_same_bytes(held_out, wanted, policy, tmp_path):
    options = {}
    if policy == "table":  # two tokens of one request, none of more
        options["policy_table"] = str(tmp_path / "table.json")
        best_table({1: {0: 1.0, 2: 2.0}, 2: {0: 2.0, 2: 1.0}}, {}).write(tmp_path / "table.json")
    with start_here("async", max_requests=3, policy=policy, **options) as llm:
        for params, tokens in zip(SETTINGS, wanted, strict=True):
            together = llm.generate(held_out[:3], params)
            assert [output.token_ids for output in together] == tokens
        [lone] = llm.generate(held_out[0], SETTINGS[0])
        assert lone.token_ids == wanted[0][0]
        depth = sum(map(bool, lone.metrics.depth_verified))
        assert 0 < depth <= (2 if policy == "table" else 7)


def test_eight_requests_at_once_get_the_bytes_that_each_gets_alone(alone, asynchronous, held_out):
    params = [SamplingParams(temperature=i % 2, seed=i, max_tokens=24 + i) for i in range(8)]
    together = asynchronous.generate(held_out[:8], params)
    apart = [alone.generate(prompt, setting)[0] for prompt, setting in zip(held_out, params, strict=False)]
    assert [output.token_ids for output in together] == [output.token_ids for output in apart]
    assert [output.text for output in together] == [output.text for output in apart]
    overlaps = [output.metrics.overlap for output in together]
    assert sum(overlap is not None for overlap in overlaps) <= 1, "nobody waits for traces but the last"


def test_another_seed_writes_another_text_and_the_same_seed_the_same(asynchronous, held_out):
    first, again, other = (
        asynchronous.generate(held_out[0], SamplingParams(seed=seed, max_tokens=40))[0] for seed in (1, 1, 2)
    )
    assert first.token_ids == again.token_ids != other.token_ids


def test_a_seed_that_was_drawn_is_returned_and_repeats_the_text(asynchronous, held_out):
    drawn = asynchronous.generate(held_out[1], SamplingParams(max_tokens=30))[0]
    again = asynchronous.generate(held_out[1], SamplingParams(max_tokens=30, seed=drawn.seed))[0]
    assert drawn.token_ids == again.token_ids


def test_drafts_are_accepted_and_both_sides_overlap(asynchronous, held_out):
    [output] = asynchronous.generate(
        held_out[2], SamplingParams(temperature=0, max_tokens=80, ignore_eos=True)
    )
    metrics = output.metrics
    assert metrics.acceptance_rate > 0
    assert metrics.mean_acceptance_length > 1
    assert metrics.passes < 80
    assert 0 < metrics.useful_overlap <= metrics.overlap <= 1
    assert output.notes == ()


def test_the_stream_adds_up_to_the_output(asynchronous, held_out):
    params = SamplingParams(temperature=0, max_tokens=50, ignore_eos=True)
    chunks = list(asynchronous.stream(held_out[3], params))
    finished = chunks[-1].finished
    assert finished is not None
    assert "".join(chunk.text for chunk in chunks) == finished.text
    assert tuple(token for chunk in chunks for token in chunk.token_ids) == finished.token_ids
    assert ["".join(text for text, _ in chunk.spans) for chunk in chunks] == [chunk.text for chunk in chunks]
    assert all(len(chunk.origins) == len(chunk.token_ids) for chunk in chunks)
    assert asynchronous.generate(held_out[3], params)[0].token_ids == finished.token_ids
    never = params.model_copy(update={"stop": (finished.text[-1] + "\0",)})  # holds the last character back
    chunks = list(asynchronous.stream(held_out[3], never))
    assert "".join(chunk.text for chunk in chunks) == finished.text


def test_a_stop_string_ends_the_text_before_it(alone, asynchronous, held_out):
    params = SamplingParams(temperature=0, max_tokens=60, ignore_eos=True)
    [whole] = alone.generate(held_out[4], params)
    stop = whole.text[20:23]
    settings = params.model_copy(update={"stop": (stop,)})
    outputs = [llm.generate(held_out[4], settings)[0] for llm in (alone, asynchronous)]
    for output in outputs:
        assert output.finish_reason == "stop"
        assert whole.text.startswith(output.text + stop)
        assert stop not in output.text
    assert outputs[0].token_ids == outputs[1].token_ids


def test_a_stream_that_is_left_early_leaves_the_engine_working(asynchronous, held_out):
    params = SamplingParams(temperature=0, max_tokens=500, ignore_eos=True)
    for _ in range(9):  # one more than there are slots
        for chunk in asynchronous.stream(held_out[5], params):
            assert chunk.token_ids
            break
    assert (
        len(asynchronous.generate(held_out[5], SamplingParams(max_tokens=5, ignore_eos=True))[0].token_ids)
        == 5
    )


def test_length_ends_a_request_inside_an_accepted_block(asynchronous, held_out):
    for count in (1, 2, 3, 5):
        [output] = asynchronous.generate(
            held_out[6], SamplingParams(temperature=0, max_tokens=count, ignore_eos=True)
        )
        assert len(output.token_ids) == count
        assert output.finish_reason == "length"


def test_a_useless_draft_is_not_verified_and_changes_nothing(alone, held_out):
    params = SamplingParams(temperature=1, seed=5, max_tokens=60, ignore_eos=True)
    with start_here("async", draft="random", max_requests=1) as llm:
        [output] = llm.generate(held_out[0], params)
    assert output.token_ids == alone.generate(held_out[0], params)[0].token_ids
    assert output.metrics.passes >= 59, "hardly a guess was right"
    assert output.metrics.verified < 30, "what never comes true is soon left out"
    assert output.metrics.overlap < 0.2, "a drafter whose guesses never come true stops guessing"
