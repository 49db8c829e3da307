"""`race`: both sides race with the same noise; the target's own winner is emitted.

The siblings are the draft's first arrivals. Nothing about them matters for what is emitted, so the text is
the target's own byte for byte, and only token ids cross the network.
Source: Kobus & Gunduz 2025 (arXiv 2504.15475); Daliri, Musco & Suresh 2024 (arXiv 2408.07978).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from amusd.sampling.rules.base import Exactness, check_drafts, first_arrivals, probabilities


class Race:
    """The target's own race winner; siblings are the draft's first arrivals in the same race."""

    name = "race"
    needs_q = False
    exact: Exactness = "bytes"
    max_siblings: int | None = None

    def draw(self, q: Tensor, k: int, noise: Tensor) -> list[int]:
        """The first k arrivals; the noise is the target's own of that position (see `Rule.draw`)."""
        return first_arrivals(q, k, noise[0])

    def check(self, q: Tensor, drafts: Sequence[int]) -> None:
        """See `Rule.check`."""
        check_drafts(self.name, q, drafts, distinct=True, most=self.max_siblings)

    def law(self, p: Tensor, q: Tensor, drafts: Sequence[int]) -> Tensor:
        """There is none.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            "race has no law given the siblings: it emits argmin(log E - log p), a function of p and of the"
            " noise E that drew the siblings too; ask hit_rate(p, q) how often one sibling is emitted"
        )

    @staticmethod
    def hit_rate(p: Tensor, q: Tensor) -> float:
        """How often the first sibling is emitted: sum over i of 1 / sum over j of max(p_j/p_i, q_j/q_i).

        Args:
            p: [vocab] the target's probabilities.
            q: [vocab] the draft's.
        """
        p, q = probabilities(p), probabilities(q)
        shared = ((p > 0) & (q > 0)).nonzero()[:, 0]
        over = torch.maximum(p / p[shared, None], q / q[shared, None])  # [shared, vocab]
        return float((1.0 / over.sum(dim=1)).sum())
