"""The tokens before each row of a pass, and what of them penalties and bans look at.

The rows of a pass share a request's log and differ in their paths below it. A log is long and only grows,
so it is counted once; a path is short.
"""

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor


class Prefixes(Sequence[list[int]]):
    """All tokens before each row: the log, then the row's own path.

    Args:
        log: prompt and committed output, shared by all rows. As long as it is the same object it only grows.
        paths: per row what was speculated below the log, the row's own token last; empty for the root.
    """

    def __init__(self, log: Sequence[int], paths: Sequence[Sequence[int]]) -> None:
        self.log = log
        self.paths = paths

    @classmethod
    def of(cls, prefixes: Sequence[Sequence[int]]) -> "Prefixes":
        """The same prefixes, whether or not they are divided already."""
        return prefixes if isinstance(prefixes, Prefixes) else cls((), prefixes)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> list[int]:  # type: ignore[override]  # no caller slices it
        return [*self.log, *self.paths[row]]

    def output_end(self, row: int, prompt_length: int, count: int) -> tuple[int, ...]:
        """The last `count` tokens of a row's output, or fewer where there are fewer."""
        log, path = self.log, self.paths[row]
        begin = max(prompt_length, len(log) + len(path) - count)
        return (*log[begin:], *path[max(0, begin - len(log)) :])


class TokenCounts:
    """How often each token stands in the prompt or the output of each row.

    The log's counts are kept from call to call, so that a pass costs what it adds and not the whole text.

    Args:
        prompt_length: tokens that are prompt; the others are output.
        device: where the answers are wanted.
    """

    def __init__(self, prompt_length: int, device: torch.device | str) -> None:
        self._prompt_length = prompt_length
        self._device = device
        self._log: Sequence[int] = ()
        self._restart(())

    def _restart(self, log: Sequence[int]) -> None:
        self._log = log
        self._counted = 0
        self._columns: dict[int, int] = {}  # token -> its place among the tokens that occur
        self._outputs: list[int] = []  # [columns] occurrences in the output

    def of(self, prefixes: Prefixes) -> tuple[Tensor, Tensor, Tensor]:
        """Count some rows.

        Returns:
            [columns] int64 the tokens that occur in any row, each once; [rows, columns] float32 how often
            each occurs in the row's output; [rows, columns] bool whether it occurs in the row at all.
        """
        log = prefixes.log
        if log is not self._log or len(log) < self._counted:
            self._restart(log)
        for position in range(self._counted, len(log)):
            column = self._column(log[position])
            self._outputs[column] += position >= self._prompt_length
        self._counted = len(log)
        known = len(self._columns)
        columns = dict(self._columns)
        added = [self._count_path(path, len(log), columns) for path in prefixes.paths]

        ids = torch.tensor(list(columns), dtype=torch.int64, device=self._device)
        outputs = torch.zeros(len(added), len(columns))  # [rows, columns]
        outputs[:, :known] = torch.tensor(self._outputs, dtype=torch.float32)
        occurs = torch.zeros(len(added), len(columns), dtype=torch.bool)
        occurs[:, :known] = True
        for row, counts in enumerate(added):
            for column, count in counts.items():
                outputs[row, column] += count
                occurs[row, column] = True
        return ids, outputs.to(self._device), occurs.to(self._device)

    def _column(self, token: int) -> int:
        column = self._columns.setdefault(token, len(self._outputs))
        if column == len(self._outputs):
            self._outputs.append(0)
        return column

    def _count_path(self, path: Sequence[int], start: int, columns: dict[int, int]) -> Counter[int]:
        """Occurrences in a path's output by column; tokens of its prompt part count none, but occur."""
        counts: Counter[int] = Counter()
        for position, token in enumerate(path, start):
            counts[columns.setdefault(token, len(columns))] += position >= self._prompt_length
        return counts
