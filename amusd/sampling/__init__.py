"""Exponential races: which token a row of logits stands for, whoever asks and in whatever company."""

from amusd.sampling import rules
from amusd.sampling.races import RaceNoise
from amusd.sampling.sampler import RowSampler
from amusd.sampling.warps import Warps

__all__ = ["RaceNoise", "RowSampler", "Warps", "rules"]
