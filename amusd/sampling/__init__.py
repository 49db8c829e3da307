"""Exponential races: which token a row of logits stands for, whoever asks and in whatever company."""

from amusd.sampling import rules
from amusd.sampling.prefixes import Prefixes
from amusd.sampling.races import RaceNoise
from amusd.sampling.sampler import RowSampler
from amusd.sampling.warps import Warps

__all__ = ["Prefixes", "RaceNoise", "RowSampler", "Warps", "rules"]
