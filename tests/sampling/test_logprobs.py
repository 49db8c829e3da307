"""Logprobs: the model's own law, vLLM's ranks, and the same bits in any company."""

import pytest
import torch

from amusd.logprobs import Logprob, RowLogprobs, named_logprobs
from amusd.sampling.logprobs import row_logprobs

VOCAB = 50


def some_rows(count=5, columns=VOCAB + 7):
    return torch.randn(count, columns, generator=torch.Generator().manual_seed(3)) * 4


def test_they_are_the_log_softmax_of_the_float32_logits_without_padding():
    rows = some_rows().bfloat16()
    expected = rows[:, :VOCAB].float().log_softmax(dim=1)
    for row, wanted in zip(
        row_logprobs(rows, [1, 2, 3, 4, 5], count=3, vocabulary_size=VOCAB), expected, strict=True
    ):
        best = wanted.sort(descending=True, stable=True)
        assert row.token_ids[1:] == tuple(best.indices[:3].tolist())
        assert row.logprobs == pytest.approx([wanted[token].item() for token in row.token_ids])


def test_the_rank_counts_the_tokens_that_are_at_least_as_likely():
    rows = some_rows()
    for token in (0, 20, 49):
        for row, logits in zip(
            row_logprobs(rows, [token] * 5, count=0, vocabulary_size=VOCAB), rows, strict=True
        ):
            assert row.token_ids == (token,)
            assert row.rank == int((logits[:VOCAB] >= logits[token]).sum())


def test_of_equals_the_lowest_ids_come_first():
    [row] = row_logprobs(torch.zeros(1, VOCAB), [40], count=4, vocabulary_size=VOCAB)
    assert row.token_ids == (40, 0, 1, 2, 3)
    assert row.rank == VOCAB


def test_a_row_has_the_same_bits_whatever_its_company():
    rows = some_rows(9)
    together = row_logprobs(rows, range(9), count=5, vocabulary_size=VOCAB)
    assert [row_logprobs([rows[i]], [i], count=5, vocabulary_size=VOCAB)[0] for i in range(9)] == together


def test_a_token_among_the_likeliest_is_named_once_and_by_its_place():
    row = RowLogprobs((7, 9, 7), (-1.5, -0.5, -1.5), rank=3)  # a third one is as likely
    named = named_logprobs(row, str)
    assert named == {7: Logprob(-1.5, 2, "7"), 9: Logprob(-0.5, 1, "9")}
    assert list(named) == [7, 9]


def test_a_token_beyond_the_likeliest_keeps_its_own_rank():
    assert named_logprobs(RowLogprobs((7, 9), (-4.0, -0.5), rank=12), str)[7] == Logprob(-4.0, 12, "7")
