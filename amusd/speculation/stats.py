"""What the target counts per request.

Words:

- drafted = stale + late + taken: a node that arrives is stale (its path left the log), late (the log
  already contains it) or taken into the tree. Late ones are not counted apart.
- A pass over a request emits accepted tokens and one token of the target's own: a correction where
  the last accepted row had verified children, a bonus where it had none.
- The target's own token was foreseen if the tree held it all the same.
"""

from dataclasses import asdict, dataclass, field
from typing import Any, Final

DEPTHS: Final = 16  # deeper nodes count as the last
RANKS: Final = 4  # further siblings count as the last


@dataclass(slots=True)
class Credit:
    """What one drafter did for one request; a node that several proposed counts for each of them.

    Attributes:
        drafted: nodes received from it.
        verified: draft rows that it had proposed.
        accepted: those of them that were committed.
        accepted_alone: those that nobody else had proposed.
    """

    drafted: int = 0
    verified: int = 0
    accepted: int = 0
    accepted_alone: int = 0


@dataclass(slots=True)
class RequestStats:
    """Counts over one request's life in one target incarnation.

    Attributes:
        passes: passes that the request took part in.
        committed: tokens committed by them.
        verified: draft rows in those passes.
        accepted: verified draft tokens that were committed.
        rollbacks: commits that left the tree, so that it was dropped.
        corrections: passes whose own token contradicted a verified node.
        foreseen_corrections: corrections that a branch already held.
        foreseen_bonuses: bonus tokens that the tree already held.
        drafted: nodes received from drafters.
        stale_nodes: nodes that were stale when they arrived.
        dropped_nodes: nodes taken into the tree that a commit dropped, verified or not.
        preemptions: times that the request was set aside because cells ran out.
        depth_verified: nodes verified whose parent was accepted, by depth below the root, the first child's
            first.
        depth_accepted: those of them that were accepted.
        rank_seen: guesses below committed tokens, by rank among their siblings.
        rank_hits: those of them that were the target's token.
        credits: by drafter, named by its incarnation or, a lookup, by its id, which is below 0.
    """

    passes: int = 0
    committed: int = 0
    verified: int = 0
    accepted: int = 0
    rollbacks: int = 0
    corrections: int = 0
    foreseen_corrections: int = 0
    foreseen_bonuses: int = 0
    drafted: int = 0
    stale_nodes: int = 0
    dropped_nodes: int = 0
    preemptions: int = 0
    depth_verified: list[int] = field(default_factory=lambda: [0] * DEPTHS)
    depth_accepted: list[int] = field(default_factory=lambda: [0] * DEPTHS)
    rank_seen: list[int] = field(default_factory=lambda: [0] * RANKS)
    rank_hits: list[int] = field(default_factory=lambda: [0] * RANKS)
    credits: dict[int, Credit] = field(default_factory=dict)

    def credit(self, source: int) -> Credit:
        """Return the counts of one drafter."""
        return self.credits.setdefault(source, Credit())

    def count_guess(self, rank: int, hit: bool) -> None:
        """A guess below a committed token was, or was not, the target's."""
        self.rank_seen[min(rank, RANKS - 1)] += 1
        self.rank_hits[min(rank, RANKS - 1)] += hit

    def count_depths(self, accepted: int, rejected: bool) -> None:
        """A pass accepted a path of so many nodes, and rejected the verified ones below it, if any."""
        for depth in range(accepted + rejected):
            self.depth_verified[min(depth, DEPTHS - 1)] += 1
            self.depth_accepted[min(depth, DEPTHS - 1)] += depth < accepted

    def to_dict(self) -> dict[str, Any]:
        """Return the counts by name; of each credit a list that begins with the drafter's number."""
        credits = [[source, *asdict(credit).values()] for source, credit in self.credits.items()]
        return asdict(self) | {"credits": credits}
