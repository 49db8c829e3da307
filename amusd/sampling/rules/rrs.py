"""`rrs`: recursive rejection of siblings that were drawn independently of each other.

A token that was drawn twice is tried twice, each time against another residual: skipping it would be wrong.
Source: Yang et al. 2024 (arXiv 2401.06706); Sun et al. 2024 (arXiv 2411.05289).
"""

from collections.abc import Sequence

from torch import Tensor

from amusd.sampling.rules.base import Exactness, check_drafts, first_arrivals
from amusd.sampling.rules.recursion import recursive_law


class RecursiveRejection:
    """Independent siblings, rejected one after the other."""

    name = "rrs"
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
        """Each sibling against what is left, then what is left in the end (see `Rule.law`)."""
        self.check(q, drafts)
        return recursive_law(p, q, drafts, replace=True)
