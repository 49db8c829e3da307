"""The walk of one verified pass: which draft tokens the target's own tokens accept.

Laws:

- Row 0 is the root, every later row is a node whose parent is an earlier row.
- The target's own token at an accepted row is always emitted: a pass emits one token more than it
  accepts (output = accepted + one correction or bonus).
- Accepting means being equal: a row is accepted exactly if its parent row is and its token is the
  target's own token there. Nothing else about the draft matters.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Walk:
    """The outcome of a walk.

    Attributes:
        accepted: row indices of the accepted nodes, from the root down; the root itself is not listed.
        emitted: the accepted tokens, then the target's own token after the last of them.
    """

    accepted: tuple[int, ...]
    emitted: tuple[int, ...]


def walk(tokens: Sequence[int], parents: Sequence[int], winners: Sequence[int]) -> Walk:
    """Follow the target's own tokens through the rows of a pass.

    Args:
        tokens: [rows] the token that each row feeds; row 0 is the root.
        parents: [rows] the row of each row's parent, earlier than itself; ignored for row 0.
        winners: [rows] the target's own token after each row.

    Raises:
        ValueError: the three differ in length, are empty, or a parent is not an earlier row.
    """
    if not len(tokens) == len(parents) == len(winners) or not tokens:
        raise ValueError(f"a pass of {len(tokens)} tokens, {len(parents)} parents, {len(winners)} winners")
    children: dict[tuple[int, int], int] = {}
    for row in range(1, len(tokens)):
        if not 0 <= parents[row] < row:
            raise ValueError(f"row {row} names row {parents[row]} as its parent: parents come first")
        children.setdefault((parents[row], tokens[row]), row)
    accepted: list[int] = []
    emitted = [winners[0]]
    row = children.get((0, winners[0]), 0)
    while row:
        accepted.append(row)
        emitted.append(winners[row])
        row = children.get((row, winners[row]), 0)
    return Walk(tuple(accepted), tuple(emitted))
