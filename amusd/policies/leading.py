"""How unlikely a future may be for a drafter to work on it, by the price that the target asks.

The target says from which reach on a node more pays for its row in a pass (`goodput.price`): little where it
idles, much where many requests fill it. A drafter that makes what will not be verified only takes memory and
cores from others. So, for each request:

- lead: nothing is drafted below what reaches less than the cube of the price. Not the price itself, for a
  node waits for the pass that runs now. What that accepts reached the price; the target's own token after it
  was not verified, so it reached less and is taken to stand at the square; what pays below, at the cube;
- none: where not even the next token is likely enough to be worth the price, nothing is. Then one guess is
  made from time to time, more and more rarely while it is wrong, for texts and loads change.

A lookup guesses on the target's own thread, right before the pass that may take the guess. So what it makes
in vain costs the target itself, and what it guesses is held against the price itself, or half of it.

Laws:
- At price 0 nothing is held back.
- However useless, a request is tried again after at most `PAUSE_MAX` commits.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from amusd.drafters.base import Guesses
from amusd.speculation.messages import DrafterId, Price, RequestId

PAUSE_MAX: Final = 16  # commits
PRICE_NEWS: Final = 0.1  # a smaller change of the price, as a share, is not told
LEAD_POWER: Final = 3  # of the price: for this pass, for the target's own token, for the next pass
NOTHING: Final = 2.0  # no reach is as high
ROOT_ONLY: Final = 1.0
LOOKUP_SHARE: Final = 0.5  # of the price; prices change, and rows that would be padding cost none


@dataclass(slots=True)
class _Trial:
    pause: int = 1
    waited: int = 0


class Leads:
    """The least reach that is worth drafting, request by request."""

    def __init__(self) -> None:
        self._trials: dict[RequestId, _Trial] = {}

    def open(self, request: RequestId) -> None:
        """Follow a request."""
        self._trials[request] = _Trial()

    def close(self, request: RequestId) -> None:
        """Forget it."""
        self._trials.pop(request, None)

    def least_reach(self, request: RequestId, price: float, prospect: float) -> float:
        """Futures that are less likely are not worth a step; above 1: none is.

        Args:
            price: of a row in the target's passes, as a reach.
            prospect: the chance that this request's next best guess is right.
        """
        trial = self._trials[request]
        if prospect >= price:
            trial.pause = 1
            return price**LEAD_POWER
        return ROOT_ONLY if trial.waited >= trial.pause else NOTHING

    def on_commit(self, request: RequestId, hit: bool | None) -> None:
        """The log grew; whether the first of its tokens was the best guess, or None if there was no guess."""
        trial = self._trials[request]
        if hit is None:
            trial.waited += 1
            return
        trial.waited = 0
        trial.pause = max(1, trial.pause // 4) if hit else min(PAUSE_MAX, 2 * trial.pause)


def worth_hanging(guesses: Guesses, price: float, chance: Callable[[float], float]) -> Guesses:
    """Of a lookup's guesses the first of each branch, by which it is judged, and what is likely enough below.

    Args:
        guesses: parents first.
        price: of a row in the target's passes, as a reach.
        chance: that a guess is right whose parent is, by its score.
    """
    least = LOOKUP_SHARE * min(price, ROOT_ONLY)
    if not least:
        return guesses
    kept: Guesses = []
    places, reaches = {-1: -1}, {-1: 1.0}
    for index, (parent, token, score) in enumerate(guesses):
        if parent not in places:
            continue
        reach = reaches[parent] * chance(score)
        if parent >= 0 and reach < least:
            continue
        places[index], reaches[index] = len(kept), reach
        kept.append((places[parent], token, score))
    return kept


class PriceNews:
    """What each drafter was told of the price last; for the target, which tells only what is news."""

    def __init__(self) -> None:
        self._told: dict[DrafterId, float] = {}

    def tell(self, drafter: DrafterId, price: float) -> list[Price]:
        """What to add to a frame for this drafter: the price, or nothing where it has not changed much."""
        told = self._told.get(drafter, 0.0)
        if abs(price - told) <= PRICE_NEWS * told:
            return []
        self._told[drafter] = price
        return [Price(price)]

    def forget(self, drafter: DrafterId) -> None:
        """Its stream is gone: a new one knows of no price."""
        self._told.pop(drafter, None)
