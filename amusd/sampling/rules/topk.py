"""`topk`: the siblings are the draft's most likely tokens; the target samples its own and looks among them.

Nothing is random about the siblings, so the target's own race winner is emitted as with `race`, byte for
byte, and only token ids cross the network. One sibling is emitted as often as its probability says.
Source: naive sampling of SpecInfer, Miao et al. 2023 (arXiv 2305.09781).
"""

from collections.abc import Sequence

from torch import Tensor

from amusd.sampling.rules.base import Exactness, check_drafts


class TopK:
    """The target's own race winner; siblings are the draft's most likely tokens."""

    name = "topk"
    needs_q = False
    exact: Exactness = "bytes"
    max_siblings: int | None = None

    def draw(self, q: Tensor, k: int, noise: Tensor) -> list[int]:
        """The k most likely tokens, of equals the lowest ids first; the noise is not looked at."""
        order = q.sort(descending=True, stable=True).indices[: min(k, int((q > 0).sum()))]
        return [int(token) for token in order]

    def check(self, q: Tensor, drafts: Sequence[int]) -> None:
        """See `Rule.check`."""
        check_drafts(self.name, q, drafts, distinct=True, most=self.max_siblings)

    def law(self, p: Tensor, q: Tensor, drafts: Sequence[int]) -> Tensor:
        """The target's own: p (see `Rule.law`)."""
        self.check(q, drafts)
        return p
