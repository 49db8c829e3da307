"""Recursive rejection: each sibling is tried against what the ones before it left of the target's law.

Sibling i is accepted with probability min(1, p_i / q_i); where it is not, p_{i+1} is the residual
(p_i - q_i)+, normalised. Without replacement q_{i+1} is q_i without the rejected token, normalised.
Source: Yang et al. 2024 (arXiv 2401.06706); Jeon et al. 2024 (arXiv 2402.14160).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from amusd.sampling.rules.base import probabilities


def recursive_law(p: Tensor, q: Tensor, drafts: Sequence[int], *, replace: bool) -> Tensor:
    """The law of the emitted token.

    Args:
        p: [vocab] the target's probabilities.
        q: [vocab] the draft's.
        drafts: siblings in drawing order, each with some probability under q.
        replace: whether they were drawn with replacement.

    Returns:
        [vocab] probabilities in the dtype of `p`.
    """
    left, drawn = probabilities(p), probabilities(q)  # what is still to be emitted, what is drawn from
    law = torch.zeros_like(left)
    rejected = 1.0  # the chance that no sibling was accepted so far
    for token in drafts:
        accepted = min(1.0, float(left[token] / drawn[token]))
        law[token] += rejected * accepted
        residual = (left - drawn).clamp_(min=0.0)
        mass = float(residual.sum())
        if accepted == 1.0 or mass == 0.0:  # without a residual p and q agree: rejecting is rounding
            return _as(law, p)
        rejected *= 1.0 - accepted
        left = residual / mass
        if not replace:
            drawn = drawn.clone()
            drawn[token] = 0.0
            tail = float(drawn.sum())
            if tail == 0.0:
                break
            drawn /= tail
    return _as(law + rejected * left, p)


def _as(law: Tensor, p: Tensor) -> Tensor:
    return (law / law.sum()).to(p.dtype)
