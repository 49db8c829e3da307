"""Medians with their spread, and ratios paired by repeat."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Spread:
    """A median with the least and the greatest value; all equal where there is one value only."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """The median, least and greatest of at least one value."""
    return Spread(median(values), min(values), max(values))


def paired_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Spread:
    """Spread of the ratios within each repeat.

    Args:
        numerators, denominators: one value a repeat, in the same order.

    Raises:
        ValueError: they are not of one length.
    """
    return spread([above / below for above, below in zip(numerators, denominators, strict=True)])
