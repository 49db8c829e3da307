"""Every drawing of siblings with its probability, and the two exact checks that a rule has to pass."""

from itertools import product

import numpy as np
import torch
from scipy.optimize import linprog

TOLERANCE = 1e-9


def independent(q, k):
    """{siblings: probability} of k draws with replacement."""
    support = [token for token, mass in enumerate(q) if mass > 0]
    return {drafts: float(np.prod([q[token] for token in drafts])) for drafts in product(support, repeat=k)}


def without_replacement(q, k):
    """{siblings: probability} of k successive draws, each from what is left of q."""
    found = {(): 1.0}
    for _ in range(min(k, sum(mass > 0 for mass in q))):
        longer = {}
        for drafts, chance in found.items():
            left = {token: mass for token, mass in enumerate(q) if mass > 0 and token not in drafts}
            total = sum(left.values())
            longer |= {(*drafts, token): chance * mass / total for token, mass in left.items()}
        found = longer
    return found


def with_the_hub(q, k):
    """{siblings: probability} of SpecHub's pairs."""
    if k == 1 or sum(mass > 0 for mass in q) == 1:
        return independent(q, 1)
    hub = int(np.argmax(q))
    found = {}
    for drafts, chance in without_replacement(q, 2).items():
        pair = drafts if drafts[0] == hub else (drafts[0], hub)
        found[pair] = found.get(pair, 0.0) + chance
    return found


def likeliest(q, k):
    """{siblings: probability} of the k most likely tokens."""
    order = sorted((token for token, mass in enumerate(q) if mass > 0), key=lambda token: -q[token])
    return {tuple(order[:k]): 1.0}


DRAWINGS = {
    "race": without_replacement,
    "topk": likeliest,
    "rejection": lambda q, k: independent(q, 1),
    "rrs": independent,
    "rrsw": without_replacement,
    "kseq": independent,
    "spechub": with_the_hub,
}


def check_lossless(law, p, q, drawings):
    """Assert that the laws, weighed with their drawings, add up to p."""
    p, q = torch.tensor(p, dtype=torch.float64), torch.tensor(q, dtype=torch.float64)
    assert abs(sum(drawings.values()) - 1) < TOLERANCE
    emitted = torch.zeros_like(p)
    for drafts, chance in drawings.items():
        each = law(p, q, drafts)
        assert (each >= 0).all()
        assert abs(float(each.sum()) - 1) < TOLERANCE
        emitted += chance * each
    assert float((emitted - p / p.sum()).abs().max()) < TOLERANCE


def hit_rate(law, p, q, drawings):
    """How often the emitted token is a sibling."""
    p, q = torch.tensor(p, dtype=torch.float64), torch.tensor(q, dtype=torch.float64)
    return sum(
        chance * float(law(p, q, drafts)[list(set(drafts))].sum()) for drafts, chance in drawings.items()
    )


def optimal_hit_rate(p, drawings):
    """The same for the best rule that there can be, by linear programming: an optimal transport.

    One variable for each (drawing, sibling in it): the mass that the drawing sends to that token.
    """
    pairs = [(row, token) for row, drafts in enumerate(drawings) for token in sorted(set(drafts))]
    limits = np.zeros((len(drawings) + len(p), len(pairs)))
    for column, (row, token) in enumerate(pairs):
        limits[row, column] = limits[len(drawings) + token, column] = 1.0
    solved = linprog(
        -np.ones(len(pairs)), A_ub=limits, b_ub=[*drawings.values(), *p], bounds=(0, None), method="highs"
    )
    assert solved.success, solved.message
    return -solved.fun
