"""`rrsw`: recursive rejection of siblings that were drawn without replacement.

The law that a sibling is tried against is what is left of q without the siblings before it.
Source: Jeon et al. 2024 (arXiv 2402.14160); Yang et al. 2024 (arXiv 2401.06706).
"""

from collections.abc import Sequence

from torch import Tensor

from amusd.sampling.rules.base import Exactness, check_drafts, first_arrivals
from amusd.sampling.rules.recursion import recursive_law


class RecursiveRejectionWithout:
    """Distinct siblings, rejected one after the other."""

    name = "rrsw"
    needs_q = True
    exact: Exactness = "distribution"
    max_siblings: int | None = None

    def draw(self, q: Tensor, k: int, noise: Tensor) -> list[int]:
        """The first k arrivals of a race, fewer where q has fewer tokens (see `Rule.draw`)."""
        return first_arrivals(q, k, noise[0])

    def check(self, q: Tensor, drafts: Sequence[int]) -> None:
        """See `Rule.check`."""
        check_drafts(self.name, q, drafts, distinct=True, most=self.max_siblings)

    def law(self, p: Tensor, q: Tensor, drafts: Sequence[int]) -> Tensor:
        """Each sibling against what is left of p and of q (see `Rule.law`)."""
        self.check(q, drafts)
        return recursive_law(p, q, drafts, replace=False)
