"""`rejection`: one draft, accepted with min(1, p / q); otherwise the residual (p - q)+ is drawn from.

Accepted as often as any rule can accept one draft that was drawn from q: sum of min(p, q).
Source: Leviathan, Kalman & Matias 2022 (arXiv 2211.17192); Chen et al. 2023 (arXiv 2302.01318).
"""

from collections.abc import Sequence

from torch import Tensor

from amusd.sampling.rules.base import Exactness, check_drafts, first_arrivals
from amusd.sampling.rules.recursion import recursive_law


class Rejection:
    """Speculative sampling of a single draft."""

    name = "rejection"
    needs_q = True
    exact: Exactness = "distribution"
    max_siblings: int | None = 1

    def draw(self, q: Tensor, k: int, noise: Tensor) -> list[int]:
        """One token, however many are wanted (see `Rule.draw`)."""
        return first_arrivals(q, 1, noise[0])

    def check(self, q: Tensor, drafts: Sequence[int]) -> None:
        """See `Rule.check`."""
        check_drafts(self.name, q, drafts, distinct=True, most=self.max_siblings)

    def law(self, p: Tensor, q: Tensor, drafts: Sequence[int]) -> Tensor:
        """The draft with min(1, p / q), the residual with the rest (see `Rule.law`)."""
        self.check(q, drafts)
        return recursive_law(p, q, drafts, replace=True)
