"""A law that is small enough to send: its likeliest tokens, to be drawn from as they are."""

from dataclasses import dataclass

import torch
from torch import Tensor

IDS_MAX = 256
"""Tokens of a law that siblings are drawn from: some 2 KB a node. docs/rules.md says what is lost."""


@dataclass(frozen=True, slots=True)
class SparseLaw:
    """Weights of some tokens, up to a common factor; every other token has none.

    Attributes:
        ids: [n] int64, ascending.
        weights: [n] float32, above 0.
    """

    ids: Tensor
    weights: Tensor

    def dense(self, vocabulary_size: int) -> Tensor:
        """[vocab] float64 weights."""
        return torch.zeros(vocabulary_size, dtype=torch.float64).index_copy_(
            0, self.ids, self.weights.double()
        )


def truncate(q: Tensor, ids_max: int = IDS_MAX) -> SparseLaw:
    """The likeliest tokens of a law, with their float32 probabilities as weights.

    Args:
        q: [vocab] probabilities, of any float dtype and on any device.

    Returns:
        a law on the CPU; whoever draws must draw from it, not from `q`.
    """
    ids = q.topk(min(ids_max, len(q))).indices.sort().values
    weights = q[ids].to(torch.float32)
    kept = weights > 0
    return SparseLaw(ids[kept].cpu(), weights[kept].cpu())
