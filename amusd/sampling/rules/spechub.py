"""`spechub`: two siblings, one of them the hub, the draft's likeliest token; mass moves through the hub.

The first sibling x is drawn from q. If it is the hub, the second is drawn from the rest of q; else the
second is the hub. So only the pairs (x, hub) and (hub, x) occur, and the best transport of their mass to p
is close to a greedy one: to x first, as much as p(x) takes; what is left of all pairs to the hub, as much as
p(hub) takes; what is left then to whatever p still lacks.
Source: Sun et al. 2024 (arXiv 2411.05289).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from amusd.sampling.rules.base import Exactness, check_drafts, first_arrivals, probabilities
from amusd.sampling.rules.recursion import recursive_law


class SpecHub:
    """A pair with the hub in it."""

    name = "spechub"
    needs_q = True
    exact: Exactness = "distribution"
    max_siblings: int | None = 2

    def draw(self, q: Tensor, k: int, noise: Tensor) -> list[int]:
        """A pair; one token if one is wanted or q has no other (see `Rule.draw`)."""
        first = first_arrivals(q, min(k, 2), noise[0])
        if len(first) == 2 and first[0] != hub_of(q):
            return [first[0], hub_of(q)]
        return first

    def check(self, q: Tensor, drafts: Sequence[int]) -> None:
        """See `Rule.check`."""
        check_drafts(self.name, q, drafts, distinct=True, most=self.max_siblings)
        if len(drafts) == 2 and hub_of(q) not in drafts:
            raise ValueError(
                f"spechub got the pair {tuple(drafts)} without the hub {hub_of(q)}: it was not drawn from q"
            )

    def law(self, p: Tensor, q: Tensor, drafts: Sequence[int]) -> Tensor:
        """The pair's share of the transport (see `Rule.law`); a single sibling as in `rejection`."""
        self.check(q, drafts)
        if len(drafts) == 1:
            return recursive_law(p, q, drafts, replace=True)
        hub = hub_of(q)
        wanted, drawn = probabilities(p), probabilities(q)
        first_mass = drawn.clone()  # [vocab] of the pairs (x, hub)
        first_mass[hub] = 0.0
        # 1 - q(hub) would lose every digit where the hub has nearly all: sum the others.
        second_mass = drawn[hub] * first_mass / first_mass.sum()  # [vocab] of the pairs (hub, x)
        lacking = wanted.clone()
        lacking[hub] = 0.0
        first_kept = torch.minimum(lacking, first_mass)
        lacking -= first_kept
        second_kept = torch.minimum(lacking, second_mass)
        lacking -= second_kept
        left = float((first_mass - first_kept).sum() + (second_mass - second_kept).sum())
        to_hub = min(left, float(wanted[hub]))
        lacking[hub] = wanted[hub] - to_hub

        token, mass, kept = (
            (drafts[0], first_mass, first_kept) if drafts[1] == hub else (drafts[1], second_mass, second_kept)
        )
        law = torch.zeros_like(wanted)
        law[token] = kept[token] / mass[token]
        moved = 1.0 - float(law[token])
        if moved > 0.0:
            law[hub] = moved * to_hub / left
            rest = float(lacking.sum())
            if rest > 0.0:
                law += moved * (1.0 - to_hub / left) / rest * lacking
        return (law / law.sum()).to(p.dtype)


def hub_of(q: Tensor) -> int:
    """The most likely token, of equals the lowest id."""
    return int((q == q.max()).nonzero()[0, 0])
