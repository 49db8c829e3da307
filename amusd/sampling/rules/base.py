"""What a verification rule is: it draws siblings from the draft's law and states what the target then emits.

Laws:
- Losslessness: the sum over all drawings D of P(D) law(p, q, D) is p, whatever p and q are.
- A drafted sibling is accepted when it is the emitted token, however that came about.
- `law` is pure. It works in float64 and answers in the dtype of `p`.
- The emitted token must be drawn with noise that had no part in drawing the siblings; `race` and `topk`,
  which do not look at the siblings, are the exceptions.
"""

from collections.abc import Sequence
from typing import Literal, Protocol

import torch
from torch import Tensor

Exactness = Literal["bytes", "distribution"]


class Rule(Protocol):
    """One way to draw siblings below a node and to emit the target's token after it."""

    @property
    def name(self) -> str:
        """What it is called on the command line."""

    @property
    def needs_q(self) -> bool:
        """Whether the target needs the law that the siblings were drawn from."""

    @property
    def exact(self) -> Exactness:
        """Whether the text is the target's own byte for byte, or a draw from the same distribution."""

    @property
    def max_siblings(self) -> int | None:
        """Most siblings below one node; None for as many as there are tokens."""

    def draw(self, q: Tensor, k: int, noise: Tensor) -> list[int]:
        """Draw siblings.

        Args:
            q: [vocab] probabilities of the draft.
            k: siblings wanted, at least 1; there are fewer where q or the rule has no more to give.
            noise: [at least k, vocab] log E with independent E ~ Exp(1); a rule that draws without
                replacement looks at the first row only.

        Returns:
            token ids in drawing order.
        """

    def check(self, q: Tensor, drafts: Sequence[int]) -> None:
        """Refuse siblings that `draw` never gives.

        Raises:
            ValueError: they are such.
        """

    def law(self, p: Tensor, q: Tensor, drafts: Sequence[int]) -> Tensor:
        """The law of the emitted token.

        Args:
            p: [vocab] probabilities of the target.
            q: [vocab] probabilities that the siblings were drawn from.
            drafts: the siblings, all of them and in drawing order.

        Returns:
            [vocab] probabilities in the dtype of `p`.

        Raises:
            ValueError: as `check` does.
        """


def probabilities(weights: Tensor) -> Tensor:
    """Weights as float64 that sum to 1, up to its rounding."""
    exact = weights.to(torch.float64)
    return exact / exact.sum()


def first_arrivals(q: Tensor, k: int, noise: Tensor) -> list[int]:
    """The first tokens of one race, a draw of k tokens without replacement; of equals the lowest id.

    Args:
        q: [vocab] probabilities.
        noise: [vocab] log E.

    Returns:
        at most k tokens, none of which has probability 0.
    """
    arrivals = noise.to(torch.float64) - q.to(torch.float64).log()  # [vocab]
    order = arrivals.sort(stable=True).indices[: min(k, int((q > 0).sum()))]
    return [int(token) for token in order]


def check_drafts(name: str, q: Tensor, drafts: Sequence[int], *, distinct: bool, most: int | None) -> None:
    """Refuse siblings that a rule never draws.

    Raises:
        ValueError: there are none or too many, one has no probability, or one comes twice in a rule that
            draws without replacement.
    """
    if not drafts or (most is not None and len(drafts) > most):
        raise ValueError(f"{name} got {len(drafts)} siblings: give 1 to {most or 'any number'}")
    for place, token in enumerate(drafts):
        if not 0 <= token < len(q) or not q[token] > 0:
            raise ValueError(f"{name} got token {token}, to which q gives nothing: it was not drawn from q")
        if distinct and token in drafts[:place]:
            raise ValueError(f"{name} got token {token} twice: it draws without replacement")
