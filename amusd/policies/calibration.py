"""What a claimed score is worth: how often guesses like it were the target's token.

Laws:
- Unlearned, an estimate is the claim itself (or what a broader calibration makes of it); the more was seen,
  the less the claim counts.
- Old outcomes fade, so a drafter that gets better or worse is followed.
- Bounded: a table of `RANKS` x `BINS` pairs of numbers, whatever comes in.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Optional

from amusd.drafters.base import Candidates
from amusd.speculation.messages import DrafterId, NodeId, RequestId
from amusd.speculation.request import Guess
from amusd.speculation.tree import TreeNode

BINS: Final = 15  # of log odds, one unit wide
RANKS: Final = 4  # the last one is shared by all further ranks
ESTIMATE_MIN: Final = 1e-6
PRIOR_TRIALS: Final = 12.0
MEMORY_TRIALS: Final = 400.0  # of one bin; beyond it old outcomes fade
PROSPECT_FIRST: Final = 0.75
_PROSPECT_STEP: Final = 0.05  # so the last twenty guesses count most


class Calibration:
    """Estimates P(hit) by rank and claimed score.

    Args:
        broader: what to believe before anything was seen here; it is taught everything seen here too.

    Attributes:
        prospect: the chance that the next best guess is right, whatever it will claim.
    """

    def __init__(self, broader: Optional["Calibration"] = None) -> None:
        self.prospect = PROSPECT_FIRST
        self._broader = broader
        self._lineage: tuple[Calibration, ...] = (*(broader._lineage if broader else ()), self)
        self._hits = [[0.0] * BINS for _ in range(RANKS)]
        self._trials = [[0.0] * BINS for _ in range(RANKS)]

    def estimate(self, score: float, rank: int = 0) -> float:
        """The chance that a guess with this claim is right, in [1e-6, 1]."""
        rank, place = min(rank, RANKS - 1), _bin(score)
        chance = score
        for each in self._lineage:
            hits = each._hits[rank][place] + PRIOR_TRIALS * chance
            chance = max(ESTIMATE_MIN, hits / (each._trials[rank][place] + PRIOR_TRIALS))
        return chance

    def observe(self, score: float, hit: bool, rank: int = 0) -> None:
        """A guess with this claim was, or was not, the target's token after a parent that was right."""
        if self._broader is not None:
            self._broader.observe(score, hit, rank)
        hits, trials = self._hits[min(rank, RANKS - 1)], self._trials[min(rank, RANKS - 1)]
        place = _bin(score)
        if trials[place] >= MEMORY_TRIALS:
            hits[place] *= 1 - 1 / MEMORY_TRIALS
            trials[place] *= 1 - 1 / MEMORY_TRIALS
        hits[place] += hit
        trials[place] += 1

    def observe_best(self, hit: bool) -> None:
        """The best guess below a node that was right was, or was not, the target's token."""
        self.prospect += _PROSPECT_STEP * (hit - self.prospect)
        if self._broader is not None:
            self._broader.observe_best(hit)


def _bin(score: float) -> int:
    odds = math.log(score / (1 - score)) if score < 1 else BINS
    return min(BINS - 1, max(0, round(odds) + BINS // 2))


class Records:
    """What the claims of every drafter are worth to the target.

    One calibration per drafter, and for a lookup one more per request: a model corrects its claims for each
    request before it sends them (`Forecasts`), a lookup's come raw, and what a match is worth differs from
    text to text.
    """

    def __init__(self) -> None:
        self._drafters: dict[DrafterId, Calibration] = {}
        self._own: dict[RequestId, dict[DrafterId, Calibration]] = {}

    def attach(self, drafter: DrafterId) -> None:
        """Begin without a record."""
        self._drafters[drafter] = Calibration()

    def detach(self, drafter: DrafterId) -> None:
        """Forget a drafter."""
        del self._drafters[drafter]

    def open(self, request: RequestId, lookups: Iterable[DrafterId]) -> None:
        """Follow a request, for these drafters by itself."""
        self._own[request] = {drafter: Calibration(self._drafters[drafter]) for drafter in lookups}

    def close(self, request: RequestId) -> None:
        """Forget a request; what it taught stays."""
        self._own.pop(request, None)

    def estimate(self, request: RequestId, node: TreeNode) -> float:
        """The chance that a node is right if its parent is: of several drafters' the highest.

        A node whose drafter left stays where a lookup's hang below it; then it is worth its claim.
        """
        best = 0.0
        for (drafter, _), score in node.aliases.items():
            best = max(best, self._of(request, drafter).estimate(score))
        return best or node.score

    def chance(self, request: RequestId, drafter: DrafterId, score: float) -> float:
        """That a guess of a drafter is right if its parent is."""
        return self._of(request, drafter).estimate(score)

    def observe(self, request: RequestId, guess: Guess) -> None:
        """A drafter's claim came true, or did not."""
        self._of(request, guess.drafter).observe(guess.score, guess.hit)
        if guess.rank == 0:
            self._drafters[guess.drafter].observe_best(guess.hit)

    def prospect(self, drafters: Iterable[DrafterId]) -> float:
        """The chance that the next best guess is right, of the best of these drafters; 0 of none."""
        return max((self._drafters[drafter].prospect for drafter in drafters), default=0.0)

    def _of(self, request: RequestId, drafter: DrafterId) -> Calibration:
        return self._own[request].get(drafter) or self._drafters[drafter]


class Forecasts:
    """A drafter's calibrated scores: what it claimed below each node, and what came of it.

    One calibration per request, backed by one for all greedy and one for all sampled requests of the drafter.
    """

    def __init__(self) -> None:
        self._shared = {greedy: Calibration() for greedy in (False, True)}
        self._own: dict[RequestId, Calibration] = {}
        # Claims below nodes that may still be committed; a committed parent is named by minus its position.
        self._claims: dict[RequestId, dict[int, Candidates]] = {}

    def open(self, request: RequestId, greedy: bool) -> None:
        """Follow a request."""
        shared = self._shared[greedy]
        self._own[request] = Calibration(shared)
        self._own[request].prospect = shared.prospect
        self._claims[request] = {}

    def close(self, request: RequestId) -> None:
        """Forget a request; what it taught stays."""
        self._own.pop(request, None)
        self._claims.pop(request, None)

    def calibrate(
        self, request: RequestId, node: NodeId | None, position: int, claims: Candidates
    ) -> Candidates:
        """Replace claimed scores by estimates, best first, and remember the claims.

        Args:
            node: below which the candidates hang, None for the root.
            position: of that node.
        """
        own = self._own[request]
        self._claims[request][-position if node is None else node] = claims
        estimates = [(token, own.estimate(score, rank)) for rank, (token, score) in enumerate(claims)]
        return sorted(estimates, key=lambda pair: -pair[1])

    def on_commit(
        self,
        request: RequestId,
        committed: Mapping[NodeId, int],
        dropped: Sequence[NodeId],
        tokens: Sequence[int],
        length: int,
    ) -> bool | None:
        """Learn from what became of the guesses below the committed path (see `Drafter.on_commit`).

        Returns:
            whether the best guess of the first of these tokens was right; None where there was none.
        """
        claims, own = self._claims[request], self._own[request]
        first: bool | None = None
        for node, position in committed.items():
            if node in claims:
                claims[-position] = claims.pop(node)
        for position, token in enumerate(tokens, length - len(tokens)):
            for rank, (guess, score) in enumerate(claims.pop(1 - position, ())):
                own.observe(score, guess == token, rank)
                if rank == 0:
                    own.observe_best(guess == token)
                    if position == length - len(tokens):
                        first = guess == token
        for node in dropped:
            claims.pop(node, None)
        return first

    def prospect(self, request: RequestId) -> float:
        """The chance that the next best guess for a request is right."""
        return self._own[request].prospect

    def truncate(self, request: RequestId) -> None:
        """The log was cut: nothing is known of the guesses any more."""
        self._claims[request].clear()
