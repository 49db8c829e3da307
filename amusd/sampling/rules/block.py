"""Block verification: a chain is judged as a whole, which accepts at least as much as one token at a time.

It is no per-position law: whether a token counts depends on those after it, and what is emitted at the end
of the accepted part on those before. So it is for single chains.
Source: Sun et al. 2024 (arXiv 2403.10444).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from amusd.sampling.rules.base import check_drafts, probabilities


@dataclass(frozen=True, slots=True)
class BlockLaw:
    """What becomes of a chain of n drafts.

    Attributes:
        accepted: [n + 1] the chance that exactly so many of its first tokens are accepted.
        own: [n + 1, vocab] the law of the target's own token after them.
    """

    accepted: Tensor
    own: Tensor


def verify_block(target_probs: Tensor, draft_probs: Tensor, chain: Sequence[int]) -> BlockLaw:
    """The law of block verification.

    Args:
        target_probs: [n + 1, vocab] the target's probabilities before each token of the chain and after it.
        draft_probs: [n, vocab] the draft's, which the chain was drawn from.
        chain: n token ids.

    Returns:
        both parts in the dtype of `target_probs`.

    Raises:
        ValueError: the shapes do not fit, or the draft gives nothing to a token of the chain.
    """
    count = len(chain)
    if len(target_probs) != count + 1 or len(draft_probs) != count:
        raise ValueError(
            f"a chain of {count} tokens needs {count + 1} rows of the target and {count} of the draft:"
            f" got {len(target_probs)} and {len(draft_probs)}"
        )
    own, stays = [], []  # law after each accepted part, chance to end there if not further
    carried = 1.0  # min(carried p/q, 1) along the chain: the chance of having got this far
    for place, token in enumerate(chain):
        p, q = probabilities(target_probs[place]), probabilities(draft_probs[place])
        check_drafts("verify_block", q, [token], distinct=True, most=None)
        residual = (carried * p - q).clamp_(min=0.0)
        mass = float(residual.sum())
        own.append(residual / mass if mass > 0.0 else p)
        further = mass + 1.0 - carried
        stays.append(1.0 if place == 0 else (mass / further if further > 0.0 else 0.0))
        carried = min(1.0, carried * float(p[token] / q[token]))
    own.append(probabilities(target_probs[-1]))
    stays.append(carried if count else 1.0)

    accepted, left = [0.0] * (count + 1), 1.0
    for place in range(count, -1, -1):
        accepted[place] = left * stays[place]
        left *= 1.0 - stays[place]
    dtype = target_probs.dtype
    return BlockLaw(torch.tensor(accepted, dtype=dtype), torch.stack(own).to(dtype))
