"""Pairs of a target's and a draft's law: the edges that rules trip over, and random ones."""

import numpy as np

NEARLY_ALL = 1.0 - 1e-12
ALL_BUT_ROUNDING = 1.0 - 1e-15


def normalised(weights):
    return [weight / sum(weights) for weight in weights]


def random_law(size, seed, sharpness=1.0):
    draws = np.random.default_rng(seed).exponential(size=size) ** sharpness
    return normalised(draws.tolist())


EDGES = {
    "equal": ([0.5, 0.3, 0.2], [0.5, 0.3, 0.2]),
    "equal up to rounding": ([0.1 + 0.2, 0.7], [0.3, 0.7]),
    "disjoint": ([0.6, 0.4, 0, 0], [0, 0, 0.7, 0.3]),
    "one-hot target": ([0, 1, 0], [0.5, 0.2, 0.3]),
    "one-hot target that the draft excludes": ([0, 0, 1], [0.6, 0.4, 0]),
    "one-hot draft": ([0.5, 0.2, 0.3], [0, 1, 0]),
    "both one-hot, equal": ([0, 1, 0], [0, 1, 0]),
    "both one-hot, different": ([1, 0, 0], [0, 1, 0]),
    "draft excludes likely tokens": ([0.4, 0.3, 0.2, 0.1], [0, 0.5, 0, 0.5]),
    "hub above one half": ([0.3, 0.4, 0.2, 0.1], [0.7, 0.1, 0.1, 0.1]),
    "hub above one half, wanted more": ([0.9, 0.05, 0.03, 0.02], [0.6, 0.2, 0.1, 0.1]),
    "hub with nearly all": ([0.3, 0.4, 0.3], [NEARLY_ALL, 0.6e-12, 0.4e-12]),
    "hub with nearly all, wanted too": ([NEARLY_ALL, 0.4e-12, 0.6e-12], [NEARLY_ALL, 0.6e-12, 0.4e-12]),
    "hub with all but rounding": ([0.3, 0.4, 0.3], [ALL_BUT_ROUNDING, 0.6e-15, 0.4e-15]),
    "two hubs": ([0.2, 0.5, 0.3], [0.4, 0.2, 0.4]),
    "uniform draft": ([0.7, 0.1, 0.1, 0.1], [0.25, 0.25, 0.25, 0.25]),
    "truncated draft": (random_law(6, 1), normalised([*random_law(6, 2)[:3], 0, 0, 0])),
    "two tokens": ([0.25, 0.75], [0.75, 0.25]),
    "one token": ([1.0], [1.0]),
}

RANDOM = {
    f"random {size} tokens, sharpness {sharpness}": (
        random_law(size, 10 * size, sharpness),
        random_law(size, 10 * size + 1, sharpness),
    )
    for size in (3, 5, 10)
    for sharpness in (0.5, 1.0, 3.0)
}

CASES = EDGES | RANDOM
