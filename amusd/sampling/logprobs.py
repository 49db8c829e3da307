"""Log-probabilities of a model's own law at committed rows: raw, before temperature, penalties and bans.

Law: a row's numbers depend on that row alone, bit for bit, so they are the same in every mode. Each row is
normalised and searched by itself, for the reason that `amusd.sampling.warps` gives.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from amusd.logprobs import RowLogprobs


@torch.inference_mode()
def row_logprobs(
    logits: Iterable[Tensor], tokens: Iterable[int], *, count: int, vocabulary_size: int
) -> list[RowLogprobs]:
    """The log-probability and rank of each row's token, and the row's most likely tokens.

    Args:
        logits: per row [at least vocab], any float dtype; columns beyond the vocabulary are dropped.
        tokens: which token each row is about.
        count: most likely tokens wanted beside it.
    """
    return [
        _row(row[:vocabulary_size].to(torch.float32).log_softmax(dim=0), token, count)
        for row, token in zip(logits, tokens, strict=True)
    ]


def _row(logs: Tensor, token: int, count: int) -> RowLogprobs:
    """Of [vocab] log-probabilities. Of equals the lowest ids come first; a rank counts them, as in vLLM."""
    own = logs[token]
    rank = int((logs >= own).sum())
    if not count:
        return RowLogprobs((token,), (own.item(),), rank)
    floor = logs.topk(min(count, len(logs))).values[-1]
    near = (logs >= floor).nonzero()[:, 0]  # ascending, with every equal of the last one
    values, order = logs.index_select(0, near).sort(descending=True, stable=True)
    ids = near.index_select(0, order[:count])
    return RowLogprobs((token, *ids.tolist()), (own.item(), *values[:count].tolist()), rank)
