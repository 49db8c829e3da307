"""The target's bookkeeping: how many tokens of each slot have cells, and where a tree's rows go.

Laws:
1. Committed cells are 0, 1, 2, ... in position order, nothing between them.
2. With n committed tokens the cells 0..n-2 are written; the root's, n-1, is written by the next pass.
3. What a pass wrote beyond the kept cells is free again without any work.
"""

from collections.abc import Sequence

from torch import Tensor

from amusd.models.runner import Rows, Runner


class TargetCells:
    """Committed lengths of a runner's slots.

    Args:
        runner: whose slots; nobody else may open or close them.
    """

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self._lengths: list[int] = []

    def open(self) -> int:
        """Take a slot with no tokens."""
        slot = self.runner.open()
        self._lengths.append(0)
        return slot

    def close(self, slot: int) -> int | None:
        """Free a slot. Returns the slot whose content moved into it, or None."""
        moved = self.runner.close(slot)
        last = self._lengths.pop()
        if moved is not None:
            self._lengths[slot] = last
        return moved

    def length(self, slot: int) -> int:
        """Tokens in the log."""
        return self._lengths[slot]

    def prefill(self, slot: int, tokens: Sequence[int], *, head: bool = False) -> Tensor | None:
        """Bring a slot to a log, writing the cells of all its tokens but the last.

        Args:
            tokens: the whole log; it must begin with what the slot holds.
            head: compute the logits too.

        Returns:
            [written tokens, vocabulary] logits if `head`, else None.
        """
        written = max(self._lengths[slot] - 1, 0)
        logits = self.runner.prefill(slot, tokens[written:-1], written, written, head=head)
        self._lengths[slot] = len(tokens)
        return logits

    def plan(self, slot: int, root: int, tokens: Sequence[int], parents: Sequence[int]) -> Rows:
        """Lay a tree out as rows: row 0 is the root, row i + 1 is node i.

        Args:
            root: the last committed token.
            tokens: the nodes' tokens, parents first.
            parents: the row of each node's parent, 0 for the root.
        """
        first = self._lengths[slot] - 1
        paths = [[first]]
        for row, parent in enumerate(parents, 1):
            paths.append([*paths[parent], first + row])
        return Rows(
            slot=slot,
            tokens=[root, *tokens],
            positions=[first + len(path) - 1 for path in paths],
            cells=range(first, first + len(paths)),
            seen=range(first),
            ancestors=paths,
        )

    def forward(self, plans: Sequence[Rows]) -> list[Tensor]:
        """One pass. Returns of each plan [rows, vocabulary] logits; row i predicts what follows row i."""
        return self.runner.forward(plans)

    def branch(self, slot: int) -> int:
        """Take another slot with the same committed cells, for rows of a branch; close it after the pass."""
        other = self.runner.open()
        self._lengths.append(self._lengths[slot])
        self.runner.copy(slot, other, range(self._lengths[slot] - 1))
        return other

    def merge(self, branch: int, slot: int, rows: int) -> None:
        """Take the first rows of a branch's last pass over into the slot that it was taken from."""
        first = self._lengths[slot] - 1
        self.runner.copy(branch, slot, range(first, first + rows))

    def keep(self, slot: int, accepted_rows: Sequence[int]) -> None:
        """Commit the accepted rows of the slot's last pass and the token that came after them.

        Args:
            accepted_rows: rows of accepted nodes, root's child first; the log grows by one more token,
                the target's own, which is the next root.
        """
        first = self._lengths[slot]
        misplaced = [(row, place) for place, row in enumerate(accepted_rows, 1) if row != place]
        sources = [first - 1 + row for row, _ in misplaced]
        self.runner.move(slot, sources, [first - 1 + place for _, place in misplaced])
        self._lengths[slot] = first + len(accepted_rows) + 1

    def truncate(self, slot: int, length: int) -> None:
        """Forget the tokens from position `length` on; their cells are free."""
        self._lengths[slot] = min(self._lengths[slot], length)
