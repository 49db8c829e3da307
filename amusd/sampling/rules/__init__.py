"""Verification rules: pure functions that say which token follows, given what the draft guessed.

docs/rules.md describes them, with formulas and measurements.
"""

from typing import Final

from amusd.errors import InputError
from amusd.sampling.rules.base import Rule
from amusd.sampling.rules.block import BlockLaw, verify_block
from amusd.sampling.rules.kseq import KSeq
from amusd.sampling.rules.race import Race
from amusd.sampling.rules.rejection import Rejection
from amusd.sampling.rules.rrs import RecursiveRejection
from amusd.sampling.rules.rrsw import RecursiveRejectionWithout
from amusd.sampling.rules.spechub import SpecHub
from amusd.sampling.rules.topk import TopK

__all__ = ["RULES", "BlockLaw", "Rule", "get", "verify_block"]

_ALL: Final[tuple[Rule, ...]] = (
    Race(),
    TopK(),
    Rejection(),
    RecursiveRejection(),
    RecursiveRejectionWithout(),
    KSeq(),
    SpecHub(),
)
RULES: Final = {rule.name: rule for rule in _ALL}
"""By name, the default first."""


def get(name: str) -> Rule:
    """The rule of a name.

    Raises:
        InputError: there is none.
    """
    if name not in RULES:
        raise InputError("rule", name, f"give one of {', '.join(RULES)}")
    return RULES[name]
