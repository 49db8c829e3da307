"""The warps: vLLM's order and meaning, transformers' results, and rows that do not see each other."""

import pytest
import torch
from transformers.generation.logits_process import (
    LogitsProcessorList,
    MinNewTokensLengthLogitsProcessor,
    MinPLogitsWarper,
    NoBadWordsLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    SequenceBiasLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from amusd.errors import InputError
from amusd.params import SamplingParams
from amusd.sampling import Warps

VOCAB = 97
PROMPT = [3, 5, 5, 8]
OUTPUT = [5, 9, 9, 9, 11]
PREFIX = PROMPT + OUTPUT


def some_logits(rows=6, columns=VOCAB, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, columns, generator=generator) * 3


def warp(logits, prefix=PREFIX, vocabulary_size=VOCAB, end_tokens=(), **settings):
    warps = Warps(
        SamplingParams(**settings),
        vocabulary_size=vocabulary_size,
        prompt_length=len(PROMPT),
        end_tokens=end_tokens,
    )
    rows = len(logits)
    return warps(logits, [len(prefix)] * rows, [prefix] * rows)


TRANSFORMERS = [
    ({"temperature": 0.7}, [TemperatureLogitsWarper(0.7)]),
    ({"top_k": 5}, [TopKLogitsWarper(5)]),
    ({"top_k": 500}, []),
    ({"top_k": -1}, []),
    ({"min_p": 0.1}, [MinPLogitsWarper(0.1)]),
    ({"top_p": 0.8}, [TopPLogitsWarper(0.8)]),
    ({"top_p": 0.01}, [TopPLogitsWarper(0.01)]),
    ({"typical_p": 0.9}, [TypicalLogitsWarper(0.9)]),
    ({"typical_p": 0.2}, [TypicalLogitsWarper(0.2)]),
    ({"temperature": 40.0, "typical_p": 0.5}, [TemperatureLogitsWarper(40.0), TypicalLogitsWarper(0.5)]),
    (
        {"bad_words_ids": [[4], [9, 11, 6], [11, 8], [8, 3]]},
        [NoBadWordsLogitsProcessor([[4], [9, 11, 6], [11, 8]])],
    ),
    ({"repetition_penalty": 1.3}, [RepetitionPenaltyLogitsProcessor(1.3)]),
    ({"logit_bias": {4: 2.5, 9: -3.0}}, [SequenceBiasLogitsProcessor([[[4], 2.5], [[9], -3.0]])]),
    ({"min_tokens": 6}, [MinNewTokensLengthLogitsProcessor(len(PROMPT), 6, [1, 7])]),
    ({"min_tokens": 5}, []),
    (
        {
            "repetition_penalty": 0.8,
            "temperature": 1.4,
            "min_p": 0.02,
            "top_k": 20,
            "top_p": 0.7,
            "typical_p": 0.6,
        },
        [
            RepetitionPenaltyLogitsProcessor(0.8),
            TemperatureLogitsWarper(1.4),
            MinPLogitsWarper(0.02),
            TopKLogitsWarper(20),
            TopPLogitsWarper(0.7),
            TypicalLogitsWarper(0.6),
        ],
    ),
]


@pytest.mark.parametrize(
    ("settings", "processors"), TRANSFORMERS, ids=[str(case[0]) for case in TRANSFORMERS]
)
def test_equal_to_transformers_processors(settings, processors):
    logits = some_logits(rows=50)
    expected = LogitsProcessorList(processors)(torch.tensor([PREFIX] * 50), logits.clone())
    assert torch.equal(warp(logits, end_tokens=[7], stop_token_ids=[1], **settings), expected)


def test_top_k_by_its_definition():
    for row, warped in zip(some_logits(), warp(some_logits(), top_k=4), strict=True):
        assert set(warped.isfinite().nonzero()[:, 0].tolist()) == set(row.topk(4).indices.tolist())


def test_min_p_by_its_definition():
    for row, warped in zip(some_logits(), warp(some_logits(), min_p=0.2), strict=True):
        law = row.double().softmax(0)
        assert warped.isfinite().tolist() == (law >= 0.2 * law.max()).tolist()


@pytest.mark.parametrize("top_p", [1e-9, 0.3, 0.9, 0.999])
def test_top_p_by_its_definition(top_p):
    for row, warped in zip(some_logits(), warp(some_logits(), top_p=top_p), strict=True):
        law = row.double().softmax(0).tolist()
        kept, mass = set(), 0.0
        for token in sorted(range(VOCAB), key=lambda token: -law[token]):
            kept.add(token)
            mass += law[token]
            if mass >= top_p:
                break
        assert set(warped.isfinite().nonzero()[:, 0].tolist()) == kept


def test_top_p_keeps_the_lowest_ids_of_equals():
    warped = warp(torch.zeros(1, VOCAB), top_p=10 / VOCAB - 0.001)
    assert warped[0].isfinite().nonzero()[:, 0].tolist() == list(range(10))


def test_penalties_by_the_definition_of_vllm():
    settings = {"repetition_penalty": 1.5, "frequency_penalty": 0.3, "presence_penalty": 0.7}
    row = some_logits(rows=1)
    expected = row[0].clone()
    for token in set(PREFIX):
        expected[token] = expected[token] / 1.5 if expected[token] > 0 else expected[token] * 1.5
    for token in OUTPUT:
        expected[token] -= 0.3
    for token in set(OUTPUT):
        expected[token] -= 0.7
    torch.testing.assert_close(warp(row, **settings)[0], expected)


def test_a_bias_comes_before_the_repetition_penalty_and_before_the_temperature():
    row = torch.zeros(1, VOCAB)
    warped = warp(row, logit_bias={5: 6.0}, repetition_penalty=2.0, temperature=0.5)
    assert warped[0, 5].item() == 6.0 / 2.0 / 0.5


def test_min_p_is_taken_before_top_k_and_top_p():
    # Of 0.5, 0.3, 0.2 top-p 0.6 keeps two; after min-p 0.625, 0.375 are left, and it keeps one.
    row = torch.tensor([[0.5, 0.3, 0.2]]).log()
    assert warp(row, vocabulary_size=3, top_p=0.6)[0].isfinite().tolist() == [True, True, False]
    assert warp(row, vocabulary_size=3, top_p=0.6, min_p=0.5)[0].isfinite().tolist() == [True, False, False]


def test_end_tokens_are_masked_until_the_output_is_long_enough():
    logits = some_logits(rows=3)
    params = SamplingParams(min_tokens=2, stop_token_ids=[20], temperature=0)
    warps = Warps(params, vocabulary_size=VOCAB, prompt_length=10, end_tokens={2, VOCAB + 5})
    warped = warps(logits, [10, 11, 12])
    assert warped.isinf().nonzero().tolist() == [[0, 2], [0, 20], [1, 2], [1, 20]]


def test_greedy_keeps_bias_and_penalties_and_ignores_the_rest():
    logits = some_logits()
    settings = {"logit_bias": {4: 9.0}, "repetition_penalty": 1.2, "presence_penalty": 1.0}
    greedy = warp(logits, temperature=0, top_k=1, top_p=0.1, min_p=0.9, **settings)
    assert torch.equal(greedy, warp(logits, **settings))


def test_padding_columns_are_dropped():
    logits = some_logits(columns=VOCAB + 31)
    logits[:, VOCAB:] = 1e4
    assert torch.equal(warp(logits, top_p=0.9, min_p=0.01), warp(logits[:, :VOCAB], top_p=0.9, min_p=0.01))


def test_logits_become_float32_before_anything_else():
    logits = some_logits().bfloat16()
    warped = warp(logits, temperature=0.3, logit_bias={1: 0.001})
    assert warped.dtype == torch.float32
    assert torch.equal(warped, warp(logits.float(), temperature=0.3, logit_bias={1: 0.001}))


@pytest.mark.parametrize("typical_p", [1e-9, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("spread", [0.001, 1, 10])
def test_typical_by_its_definition(typical_p, spread):
    logits = some_logits() * spread
    for row, warped in zip(logits, warp(logits, typical_p=typical_p), strict=True):
        law = row.double().softmax(0)
        entropy = -(law * law.log()).sum()
        distance = (-law.log() - entropy).abs().tolist()
        kept, mass = set(), 0.0
        for token in sorted(range(VOCAB), key=lambda token: distance[token]):
            kept.add(token)
            mass += law[token].item()
            if mass >= typical_p:
                break
        assert set(warped.isfinite().nonzero()[:, 0].tolist()) == kept


def test_a_python_processor_sees_each_rows_whole_prefix_after_the_bias_and_before_the_penalties():
    seen = []

    def halve(input_ids, scores):
        seen.append((input_ids.tolist(), scores[0, 5].item()))
        scores[0, 5] /= 2  # it may write to what it was given
        return scores

    logits = torch.zeros(2, VOCAB)
    settings = {"logits_processors": [halve], "logit_bias": {5: 8.0}, "repetition_penalty": 2.0}
    warps = Warps(SamplingParams(**settings), vocabulary_size=VOCAB, prompt_length=1)
    assert warps.needs_prefix
    warped = warps(logits, [2, 3], [[5, 6], [5, 6, 7]])
    assert seen == [([[5, 6]], 8.0), ([[5, 6, 7]], 8.0)]
    assert warped[:, 5].tolist() == [2.0, 2.0]
    assert not logits.any()


def test_a_python_processor_that_writes_to_its_scores_does_not_write_to_the_callers():
    def spoil(input_ids, scores):
        return scores.fill_(1.0)

    logits = some_logits()
    before = logits.clone()
    assert (warp(logits, logits_processors=[spoil]) == 1.0).all()
    assert torch.equal(logits, before)


def test_transformers_own_classes_are_python_processors():
    logits = some_logits(rows=3)
    processor = RepetitionPenaltyLogitsProcessor(1.7)
    expected = warp(logits, repetition_penalty=1.7)
    assert torch.equal(warp(logits, logits_processors=[processor]), expected)


@pytest.mark.parametrize("wrong", [lambda ids, scores: None, lambda ids, scores: scores[0]])
def test_a_python_processor_that_returns_no_scores_is_named(wrong):
    with pytest.raises(InputError, match=r"^logits_processors: .*it returned"):
        warp(some_logits(), logits_processors=[wrong])


EVERYTHING = {
    "temperature": 0.9,
    "min_p": 0.001,
    "top_k": 90,
    "top_p": 0.97,
    "repetition_penalty": 1.1,
    "frequency_penalty": 0.2,
    "presence_penalty": 0.1,
    "logit_bias": {6: 1.0},
    "min_tokens": 7,
    "typical_p": 0.98,
    "bad_words_ids": [[3], [11, 4], [0, 0, 5], [1, 1, 7]],
    "allowed_token_ids": list(range(1, 96)),
}


@pytest.mark.parametrize(
    "settings",
    [EVERYTHING, {"top_p": 0.9}, {"temperature": 0.7}, {"min_p": 0.05}, {"typical_p": 0.9}],
)
@pytest.mark.parametrize("vocabulary_size", [VOCAB, 2048])
def test_a_row_has_the_same_bits_whatever_its_company(settings, vocabulary_size):
    logits = some_logits(rows=9, columns=vocabulary_size)
    prefixes = [PREFIX + [row] * row for row in range(9)]
    positions = [len(prefix) for prefix in prefixes]
    warps = Warps(
        SamplingParams(**settings), vocabulary_size=vocabulary_size, prompt_length=len(PROMPT), end_tokens=[2]
    )
    together = warps(logits, positions, prefixes)
    for rows in ([0], [8], [3, 4], [7, 2, 5, 2], list(range(8, -1, -1))):
        part = warps(logits[rows], [positions[row] for row in rows], [prefixes[row] for row in rows])
        assert torch.equal(part, together[rows])


def test_the_callers_logits_stay_as_they_are():
    logits = some_logits()
    before = logits.clone()
    warp(logits, end_tokens=[1], **EVERYTHING)
    assert torch.equal(logits, before)


@pytest.mark.parametrize(
    "settings",
    [
        {"logit_bias": {VOCAB: 1.0}},
        {"stop_token_ids": [VOCAB]},
        {"allowed_token_ids": [1, VOCAB]},
        {"bad_words_ids": [[VOCAB]]},
    ],
)
def test_a_token_id_outside_the_vocabulary_is_refused(settings):
    with pytest.raises(InputError, match=rf"{next(iter(settings))}: {VOCAB}: .*below {VOCAB}"):
        warp(some_logits(), **settings)


def test_penalties_without_prefixes_are_refused():
    warps = Warps(SamplingParams(presence_penalty=1.0), vocabulary_size=VOCAB, prompt_length=1)
    assert warps.needs_prefix
    with pytest.raises(ValueError, match="give prefixes"):
        warps(some_logits(), [1] * 6)
