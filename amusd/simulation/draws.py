"""Random numbers that are functions of their place, as the races' noise is: no state, no order.

Whatever asks for the number of a place gets the same one, whenever and however often it asks; so what a
drafter would say somewhere does not depend on when, or on what else was asked before.
"""

import math
import struct
from hashlib import blake2b
from random import Random


def draw_bits(seed: int, *place: int) -> int:
    """64 random bits of a place; every number of it must fit into 64 signed bits."""
    key = struct.pack(f"<{len(place) + 1}q", seed, *place)
    return int.from_bytes(blake2b(key, digest_size=8).digest(), "little")


def draw(seed: int, *place: int) -> float:
    """A number from [0, 1), evenly."""
    return (draw_bits(seed, *place) >> 11) * 2.0**-53


def draw_beta(mean: float, spread: float, seed: int, *place: int) -> float:
    """A number from [0, 1] with a mean and a variance of `spread * mean * (1 - mean)`; Beta-distributed.

    Args:
        spread: from 0, always the mean, to 1, either 0 or 1.
    """
    if spread == 0 or mean in (0.0, 1.0):
        return mean
    if spread == 1:
        return float(draw(seed, *place) < mean)
    weight = 1 / spread - 1
    return Random(draw_bits(seed, *place)).betavariate(mean * weight, (1 - mean) * weight)


def draw_factor(deviation: float, seed: int, *place: int) -> float:
    """A positive number with a mean of 1 and a standard deviation of `deviation`; log-normal."""
    if deviation == 0:
        return 1.0
    variance = math.log1p(deviation**2)
    return math.exp(Random(draw_bits(seed, *place)).gauss(-variance / 2, math.sqrt(variance)))
