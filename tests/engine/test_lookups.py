"""Drafters without a model, alone and beside one: the target's bytes, and fewer passes where text repeats."""

import os
import signal

import pytest

from amusd import LLM, InputError, SamplingParams
from tests.engine.conftest import CORES, start, start_here

EVERYTHING = ["demo-large", "prompt-lookup", "ngram", "phrases"]
GREEDY = SamplingParams(temperature=0, max_tokens=60, ignore_eos=True)
SETTINGS = [GREEDY, SamplingParams(temperature=1, seed=11, max_tokens=60, ignore_eos=True)]


@pytest.fixture(scope="module")
def wanted(alone, repeating):
    return [[output.token_ids for output in alone.generate(repeating, params)] for params in SETTINGS]


@pytest.fixture(scope="module")
def everything():
    """A draft model and each lookup; the last test here kills the draft."""
    with start("async", draft=EVERYTHING, max_requests=2) as llm:
        yield llm


def lookups_only(*lookups, **options):
    """An engine without a draft model, which has no draft device."""
    return LLM(
        target="demo", launcher="inprocess", target_devices=f"cpu:{CORES[0]}", draft=list(lookups), **options
    )


def check(llm, prompts, wanted):
    """The bytes of the target alone; returns the outputs by setting."""
    outputs = [llm.generate(prompts, params) for params in SETTINGS]
    assert [[output.token_ids for output in each] for each in outputs] == wanted
    return outputs


def by_name(output):
    return {each.name: each for each in output.metrics.drafters}


def check_credits(llm, prompts, wanted):
    """The bytes of the target alone, and who is credited with their drafts."""
    [[_, copied], _] = check(llm, prompts, wanted)
    credits = by_name(copied)
    assert {"draft 0", "prompt-lookup", "ngram"} <= set(credits)
    assert credits["prompt-lookup"].accepted > 0
    for credit in credits.values():
        assert credit.drafted >= credit.verified >= credit.accepted >= credit.accepted_alone >= 0
    assert max(each.accepted for each in credits.values()) <= 60 - copied.metrics.passes


def test_all_together_write_the_bytes_of_the_target_alone_and_each_is_credited(everything, repeating, wanted):
    check_credits(everything, repeating, wanted)


@pytest.mark.parametrize(
    "options", [{"mode": "sync"}, {"mode": "async", "verify": "rows"}, {"mode": "pearl"}], ids=str
)
def test_other_ways_to_verify_them_write_the_same_bytes(repeating, wanted, options):
    with start_here(draft=EVERYTHING, max_requests=2, **options) as llm:
        check_credits(llm, repeating, wanted)


@pytest.mark.parametrize("mode", ["async", "sync"])
def test_prompt_lookup_by_itself_needs_no_draft_worker_and_saves_passes_where_text_repeats(
    repeating, wanted, mode
):
    with lookups_only("prompt-lookup", mode=mode) as llm:
        assert list(llm.info()) == ["target"]
        [[_, copied], _] = check(llm, repeating, wanted)
        assert copied.metrics.passes < 40
        assert [each.name for each in copied.metrics.drafters] == ["prompt-lookup"]


def test_ngrams_remember_other_requests_and_a_corpus(tmp_path, repeating, wanted):
    corpus = tmp_path / "corpus.txt"
    with lookups_only("ngram") as llm:
        [[first, _], _] = check(llm, repeating, wanted)
        again = llm.generate(repeating[0], GREEDY)[0]
        assert again.metrics.passes < first.metrics.passes, "it has read this answer before"
        corpus.write_text(repeating[0] + again.text, encoding="utf-8")
    with lookups_only(f"ngram:{corpus}") as llm:
        assert "tokens of a corpus" in llm.info()["target"]["summary"]
        [taught] = llm.generate(repeating[0], GREEDY)
        assert taught.token_ids == wanted[0][0]
        assert taught.metrics.passes < first.metrics.passes


def test_a_corpus_that_is_not_there_is_named():
    with pytest.raises(InputError, match=r"^draft: ngram:/no/such/file: its corpus cannot be read"):
        lookups_only("ngram:/no/such/file")


def test_lookups_go_on_when_the_draft_is_killed(everything, repeating, wanted):
    seen, output = 0, None
    for chunk in everything.stream(repeating[1], GREEDY):
        if not seen:
            os.kill(everything.info()["draft 0"]["pid"], signal.SIGKILL)
        seen += len(chunk.token_ids)
        output = chunk.finished
    assert output.token_ids == wanted[0][1]
    assert by_name(output)["prompt-lookup"].accepted > 0
    assert any("draft 0 was lost at token" in note for note in output.notes)
