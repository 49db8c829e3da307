"""`kseq`: SpecTr's K-SEQ, independent siblings that are all tried against p, at a discount rho.

A sibling x is accepted with min(1, p(x) / (rho q(x))), so one of them is with beta = sum of min(q, p / rho),
and one of K with 1 - (1 - beta)^K. What was not emitted this way is the residual. It is a law as long as
1 - (1 - beta)^K <= rho beta; the smallest such rho, between 1 and K, accepts most.
Source: Sun et al. 2023 (arXiv 2310.15141).
"""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from amusd.sampling.rules.base import Exactness, check_drafts, first_arrivals, probabilities

BISECTIONS: Final = 60  # from an interval of K - 1 to the last bit of a float64


class KSeq:
    """Independent siblings, each accepted at the same discount."""

    name = "kseq"
    needs_q = True
    exact: Exactness = "distribution"
    max_siblings: int | None = None

    def draw(self, q: Tensor, k: int, noise: Tensor) -> list[int]:
        """Independent draws, which may repeat a token (see `Rule.draw`)."""
        return [first_arrivals(q, 1, noise[row])[0] for row in range(k)]

    def check(self, q: Tensor, drafts: Sequence[int]) -> None:
        """See `Rule.check`."""
        check_drafts(self.name, q, drafts, distinct=False, most=self.max_siblings)

    def law(self, p: Tensor, q: Tensor, drafts: Sequence[int]) -> Tensor:
        """Each sibling at the discount, then the residual (see `Rule.law`)."""
        self.check(q, drafts)
        wanted, drawn = probabilities(p), probabilities(q)
        rho = best_rho(wanted, drawn, len(drafts))
        share = torch.minimum(drawn, wanted / rho)  # [vocab] drawn and accepted, of one sibling
        beta = float(share.sum())
        residual = (wanted - share * _tries(beta, len(drafts))).clamp_(min=0.0)
        law = torch.zeros_like(wanted)
        rejected = 1.0
        for token in drafts:
            accepted = float(share[token] / drawn[token])
            law[token] += rejected * accepted
            rejected *= 1.0 - accepted
        mass = float(residual.sum())
        if mass > 0.0:
            law += rejected / mass * residual
        return (law / law.sum()).to(p.dtype)


def best_rho(p: Tensor, q: Tensor, k: int) -> float:
    """The smallest discount at which K-SEQ is lossless, by bisection.

    Args:
        p: [vocab] float64 probabilities of the target.
        q: [vocab] of the draft.
        k: siblings.
    """

    def lossless(rho: float) -> bool:
        beta = float(torch.minimum(q, p / rho).sum())
        return _tries(beta, k) <= rho

    low, high = 1.0, float(k)
    if lossless(low):
        return low
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        if lossless(middle):
            high = middle
        else:
            low = middle
    return high


def _tries(beta: float, k: int) -> float:
    """(1 - (1 - beta)^k) / beta, without its division: how many siblings are tried, on average."""
    return sum((1.0 - beta) ** tried for tried in range(k))
