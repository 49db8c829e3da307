"""What is possible: rates that measured costs and measured ranks allow.

Laws:
- Ranks are those of `amusd.bench.ranks`: one sequence an output, one rank a token, 1 for a token that the
  draft's first candidate was. Everything here replays them token by token and counts passes; so hits that
  come in runs count as they came.
- Times are in seconds, rates in tokens per second. A pass of r rows takes `cost(r)`, a draft step `step`.
- A pass verifies at most as many tokens as the output still lacks, less one: the last token is the target's.
- Nothing is lost to messages, sampling or waiting for anybody but the other model.

Sources: docs/design.md; AMUSD, arXiv 2410.17375, section 3.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

Ranks = Sequence[Sequence[int]]
Cost = Callable[[int], float]

NODES_WAITED_FOR = 2  # AMUSD verifies when two or more tokens wait
_ROUNDING = 1e-9


class CostCurve:
    """Seconds of a pass by rows: measured points, straight lines between them, flat before the first.

    Args:
        points: rows to seconds, at least one.
    """

    def __init__(self, points: Mapping[int, float]) -> None:
        self._rows = sorted(points)
        self._seconds = [points[rows] for rows in self._rows]

    @property
    def rows_max(self) -> int:
        """The most rows that were measured; beyond them nothing is known."""
        return self._rows[-1]

    def __call__(self, rows: int) -> float:
        """Seconds of a pass of `rows` rows, at most `rows_max`.

        Raises:
            ValueError: more rows than were measured.
        """
        if rows > self.rows_max:
            raise ValueError(f"{rows} rows: at most {self.rows_max} were measured")
        right = bisect_left(self._rows, rows)
        if right == 0 or self._rows[right] == rows:
            return self._seconds[right]
        left = right - 1
        share = (rows - self._rows[left]) / (self._rows[right] - self._rows[left])
        return self._seconds[left] + share * (self._seconds[right] - self._seconds[left])


@dataclass(frozen=True, slots=True)
class Bound:
    """A rate, and the number of drafted tokens a pass that reaches it."""

    tokens_per_second: float
    k: int


def hit_rate(ranks: Ranks, candidates: int) -> float:
    """The share of tokens among the draft's first candidates; of one candidate it is alpha."""
    flat = [rank for sequence in ranks for rank in sequence]
    return sum(rank <= candidates for rank in flat) / len(flat)


def acceptance_by_depth(ranks: Ranks, depth_max: int, reached_min: int = 1) -> list[float | None]:
    """Item d - 1: how often a token has rank 1 where the d - 1 before it had.

    Args:
        reached_min: where so many did not get as far the item is None.
    """
    found: list[float | None] = []
    for depth in range(1, depth_max + 1):
        reached = accepted = 0
        for sequence in ranks:
            hits = [rank == 1 for rank in sequence]
            for end in range(depth - 1, len(hits)):
                if all(hits[end - depth + 1 : end]):
                    reached += 1
                    accepted += hits[end]
        found.append(accepted / reached if reached >= reached_min else None)
    return found


def tokens_per_pass(ranks: Ranks, k: int) -> float:
    """E(k): tokens committed per pass that verifies a chain of k, the target's own token included."""
    tokens = passes = 0
    for sequence in ranks:
        tokens += len(sequence)
        at = 0
        while at < len(sequence):
            at += _accepted(sequence, at, k) + 1
            passes += 1
    return tokens / passes


def synchronous_rate(ranks: Ranks, cost: Cost, step: float, k: int) -> float:
    """E(k) / (T(k + 1) + k t_d)."""
    return tokens_per_pass(ranks, k) / (cost(k + 1) + k * step)


def amusd_rate(ranks: Ranks, cost: Cost, step: float, k: int) -> float:
    """A chain that never waits beside a target that verifies up to k of what is there.

    The draft makes a token each `step` and is told of commits at once. The target starts a pass when two
    tokens wait. A mismatch drops the chain and the draft starts over from the target's token; so it does
    where the bonus token came before the draft had one for its place.
    """
    tokens, seconds = 0, 0.0
    for sequence in ranks:
        tokens += len(sequence)
        at, chain_from, chain_began, now = 0, 0, 0.0, 0.0
        while at < len(sequence):
            wanted = min(NODES_WAITED_FOR, len(sequence) - 1 - at)
            waiting = chain_from + int((now - chain_began) / step + _ROUNDING) - at
            if waiting < wanted:
                now = chain_began + (at + wanted - chain_from) * step
                waiting = wanted
            verified = min(waiting, k, len(sequence) - 1 - at)
            now += cost(verified + 1)
            accepted = _accepted(sequence, at, verified)
            own = at + accepted  # the target's own token: a correction, or a bonus
            at = own + 1
            ahead = chain_from + int((now - chain_began) / step + _ROUNDING) > own
            if accepted < verified or not ahead or sequence[own] != 1:
                chain_from, chain_began = at, now
        seconds += now
    return tokens / seconds


def hidden_rate(ranks: Ranks, cost: Cost, step: float, k: int, candidates: int | None) -> float:
    """Passes of k verified tokens with the draft's work behind them, where corrections are foreseen.

    A pass takes max(T(k + 1), k t_d). Where the target's own token was not among the draft's first
    `candidates`, nothing is there to verify and the next pass is a plain one of T(1). With None every token
    is foreseen, and the rate is E(k) / max(T(k + 1), k t_d).
    """
    tokens, seconds = 0, 0.0
    full = max(cost(k + 1), k * step)
    for sequence in ranks:
        tokens += len(sequence)
        at, ready = 0, True
        while at < len(sequence):
            seconds += full if ready else cost(1)
            own = at + (_accepted(sequence, at, k) if ready else 0)
            ready = candidates is None or sequence[own] <= candidates
            at = own + 1
    return tokens / seconds


def best(rate: Callable[[int], float], ks: Iterable[int]) -> Bound:
    """The greatest rate over k; of equal ones the smallest k."""
    return max((Bound(rate(k), k) for k in ks), key=lambda bound: (bound.tokens_per_second, -bound.k))


def _accepted(sequence: Sequence[int], at: int, k: int) -> int:
    """How many of up to k drafted tokens from `at` on are the target's, but never the output's last."""
    stop = min(at + k, len(sequence) - 1)
    end = at
    while end < stop and sequence[end] == 1:
        end += 1
    return end - at
