"""One request at the target: its log, its tree, and where a proposed node belongs.

Laws:

- The tree always hangs off the end of the log.
- A node's place depends on its path and the log alone: a child of the log's end or of a live node is
  live, a child of an older prefix is committed if the log says the same token there, else stale.
- The log ends with the first end token or at the length limit, whichever comes first.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from amusd.speculation.attachment import Lane
from amusd.speculation.log import CommitLog
from amusd.speculation.messages import Commit, DrafterId, Final, Node, NodeId, Origin, RequestId
from amusd.speculation.stats import RequestStats
from amusd.speculation.tree import Advance, SpeculationTree, TreeNode

_LOOKED_UP = NodeId(0)  # every node of a lookup's: it never names them again


@dataclass(frozen=True, slots=True)
class Guess:
    """A drafter's guess below a committed token; one that several made is several.

    Attributes:
        drafter: whose it was.
        score: as it claimed.
        hit: whether it was the target's token.
        rank: its place among the siblings that this drafter guessed, 0 for the best.
    """

    drafter: DrafterId
    score: float
    hit: bool
    rank: int


class TargetRequest:
    """State of one request; the endpoint drives it.

    Attributes:
        origins: [log length] of each token; what another incarnation wrote, and the prompt, count as its own.
        length_max: the length, prompt included, at which the request ends.
        speculative: whether anybody may guess for it.
        num_speculative_tokens: most draft tokens of it in one pass; None: as many as there is room for.
        feed_cursor: how much of the log the coordinator was handed.
        feed_done: whether it was handed the end as well.
    """

    def __init__(
        self,
        tokens: Sequence[int],
        length_max: int,
        end_tokens: frozenset[int],
        *,
        speculative: bool = True,
        num_speculative_tokens: int | None = None,
    ) -> None:
        self.log = CommitLog(tokens)
        self.tree = SpeculationTree(self.log.length, self.log.last)
        self.origins: list[Origin] = ["own"] * self.log.length
        self.length_max = length_max
        self.speculative = speculative
        self.num_speculative_tokens = num_speculative_tokens
        self.end_tokens = end_tokens
        self.feed_cursor = self.log.length
        self.feed_done = False
        self.stats = RequestStats()

    @property
    def room(self) -> int:
        """How many draft tokens the next pass may verify, if any: it adds one token of its own."""
        room = max(0, self.length_max - 1 - self.log.length) if self.speculative else 0
        return room if self.num_speculative_tokens is None else min(room, self.num_speculative_tokens)

    def end_at_open(self, prompt_length: int) -> Final | None:
        """Return why a request that was just opened is over already, or None."""
        if self.log.length > prompt_length and self.log.last in self.end_tokens:
            return "stop"
        return "length" if self.log.length >= self.length_max else None

    def place(self, lane: Lane, node: Node) -> TreeNode | int | None:
        """Return the live node it is, or the length of the committed prefix it ends, or None: stale."""
        parent = lane.resolve(node.parent, self.tree.root)
        if self.log.final is not None or parent is None:
            return None
        if isinstance(parent, int):
            return parent + 1 if self.log.tokens[parent] == node.token else None
        if parent.position + 1 >= self.length_max:
            return None
        return self.tree.add(parent, node.token, node.score)

    def hang(self, drafter: DrafterId, guesses: Sequence[tuple[int, int, float]], below: TreeNode) -> None:
        """Take the guesses of a lookup; see `TargetEndpoint.on_guess`."""
        nodes = [below]
        for parent, token, score in guesses:
            node = self.tree.add(nodes[parent + 1], token, score)
            node.aliases[drafter, _LOOKED_UP] = score
            nodes.append(node)
        self.stats.drafted += len(guesses)
        self.stats.credit(drafter).drafted += len(guesses)

    def credit(self, sources: Sequence[Collection[int]], accepted_rows: Collection[int]) -> None:
        """Count what became of verified nodes for whoever proposed them.

        Args:
            sources: [rows - 1] of each node, the numbers of its drafters.
        """
        for row, own in enumerate(sources, 1):
            for source in own:
                credit = self.stats.credit(source)
                credit.verified += 1
                credit.accepted += row in accepted_rows
                credit.accepted_alone += row in accepted_rows and len(own) == 1

    def cut(self, emitted: Sequence[int]) -> tuple[tuple[int, ...], Final | None]:
        """Keep the emitted tokens up to the first that ends the request, inclusive."""
        for count, token in enumerate(emitted, 1):
            if token in self.end_tokens:
                return tuple(emitted[:count]), "stop"
            if self.log.length + count >= self.length_max:
                return tuple(emitted[:count]), "length"
        return tuple(emitted), None

    def commit(self, emitted: tuple[int, ...], accepted: int, *, verified: int, corrected: bool) -> Advance:
        """Append what a pass emitted, re-root the tree and count.

        Args:
            accepted: how many of the tokens were draft tokens; they come first.
            verified: how many draft rows the pass had.
            corrected: whether the last accepted row had verified children.
        """
        stats = self.stats
        self.log.append(self.log.length, emitted)
        advance = self.tree.advance(emitted)
        self.origins += ["accepted"] * accepted
        stats.corrections += corrected and accepted < len(emitted)
        stats.count_depths(accepted, corrected and accepted < len(emitted))
        stats.passes += 1
        stats.committed += len(emitted)
        stats.verified += verified
        stats.accepted += accepted
        stats.rollbacks += advance.rolled_back
        stats.dropped_nodes += len(advance.dropped)
        if accepted < len(emitted):
            foreseen = advance.kept[-1] is not None
            self.origins.append("foreseen" if foreseen else "own")
            stats.foreseen_corrections += foreseen and corrected
            stats.foreseen_bonuses += foreseen and not corrected
        return advance

    def guesses(self, emitted: Sequence[int]) -> list[Guess]:
        """Return the guesses below the committed path that `emitted` will extend, and count them."""
        found: list[Guess] = []
        parent: TreeNode | None = self.tree.root
        for token in emitted:
            if parent is None:
                break
            siblings = sorted(parent.children.values(), key=lambda node: (-node.score, node.token))
            for rank, node in enumerate(siblings):
                self.stats.count_guess(rank, node.token == token)
            found += _claims(siblings, token)
            parent = parent.children.get(token)
        return found

    def commit_from(self, request: RequestId, incarnation: int, start: int) -> Commit:
        """Return everything from position `start` on as one message."""
        origins = tuple(self.origins[start:])
        return Commit(request, incarnation, start, self.log.since(start), origins, self.log.final)


def _claims(siblings: Sequence[TreeNode], token: int) -> list[Guess]:
    """What each drafter had guessed, best first, where `token` came."""
    claims: dict[DrafterId, list[tuple[float, int]]] = {}
    for node in siblings:
        for (drafter, _), score in node.aliases.items():
            claims.setdefault(drafter, []).append((-score, node.token))
    return [
        Guess(drafter, -minus_score, guess == token, rank)
        for drafter, own in claims.items()
        for rank, (minus_score, guess) in enumerate(sorted(own))
    ]
