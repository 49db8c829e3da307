"""The acceptance law: how often a drafter's candidates are the target's token, and what it thinks of them.

Laws:

- Each position of the text has a confidence, drawn from a distribution around `rate`: the chance that the
  first candidate there is the target's token. Neighbours share it with probability `persistence`, so hard
  stretches exist. It belongs to the text: all drafters find the same places hard.
- Requests of several kinds take turns; a kind moves the log odds of the rate.
- If the candidates before it missed, the candidate of rank r + 1 hits with `runners_up[r - 1]`, but none is
  likelier than the one ranked before it.
- A drafter reports the confidence with its log odds times `sharpness` plus `bias`, and gives scores as if
  that were the chance of the first candidate: 1 and 0 are calibrated.
- Below a wrong token nothing can hit. The drafter does not know that: its candidates there come from a
  stream of their own, a function of the wrong path, with scores from the same distribution.
- Two drafters draw the same candidates at a place with probability `agreement`, else independent ones.
"""

import math
from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from amusd.drafters.base import Candidates, Expansion
from amusd.simulation.curves import Text
from amusd.simulation.draws import draw, draw_beta, draw_bits
from amusd.simulation.text import VOCABULARY_SIZE, TrueText
from amusd.speculation.messages import RequestId

SCORE_MIN = 1e-6
_CONFIDENCE, _KEEP, _OWN, _HIT, _WRONG, _PATH = range(1, 7)  # streams of the one seed; 0 is the text's

Share = Annotated[float, Field(ge=0, le=1)]


class Acceptance(BaseModel):
    """The parameters of the law.

    Attributes:
        source: where they come from.
        rate: mean chance that the first candidate is the target's token.
        mix: kinds of requests, easy and hard, which take turns: what is added to the log odds of `rate`;
            none: all are alike.
        spread: how much that chance differs between positions: its variance over that of a coin.
        persistence: chance that a position has the confidence of the one before it.
        runners_up: chance that each further candidate hits if those before it missed.
        sharpness: what the log odds of a confidence are multiplied with in a report; above 1 is boastful.
        bias: what is added to them; below 0 is underconfident, as the scores of a race are.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    source: Text
    rate: Share
    mix: list[float] = []
    spread: Share = 0.0
    persistence: float = Field(0.0, ge=0, lt=1)
    runners_up: list[Share] = []
    sharpness: float = Field(1.0, gt=0)
    bias: float = 0.0

    def rate_of(self, request: RequestId) -> float:
        """The mean chance in one request."""
        if not self.mix:
            return self.rate
        odds = self.rate * math.exp(self.mix[request % len(self.mix)])
        return odds / (odds + 1 - self.rate)


class AcceptanceLaw:
    """Candidates of one drafter.

    Args:
        index: which of the drafters it is.
        agreement: chance that it draws what the others draw at a place.
    """

    def __init__(
        self, parameters: Acceptance, text: TrueText, index: int = 0, agreement: float = 1.0
    ) -> None:
        self._parameters = parameters
        self._text = text
        self._seed = text.seed
        self._index = index
        self._agreement = agreement
        self._confidences: dict[RequestId, list[float]] = {}

    def expand(self, items: Sequence[Expansion]) -> list[Candidates]:
        """The children of some nodes, one list per item: what `Drafter.expand` answers."""
        return [
            self.candidates(item.request, item.position + 1 - len(item.path), item.path, item.count)
            for item in items
        ]

    def candidates(self, request: RequestId, start: int, path: Sequence[int], count: int) -> Candidates:
        """The best `count` guesses for what follows a path, best first.

        Args:
            start: position of the path's first token.
            path: tokens below the committed prefix.
        """
        position = start + len(path)
        wrong_at = self._first_wrong(request, start, path)
        if wrong_at is None:
            place = (request, position, -1)
            confidence = self._confidence(request, position)
            truth = self._text.token(request, position)
            hit = self._hit_rank(self._chances(confidence, count), place)
        else:
            place = (request, wrong_at, self._path_key(request, wrong_at, path[wrong_at - start :]))
            law = self._parameters
            confidence = draw_beta(law.rate_of(request), law.spread, self._seed, _CONFIDENCE, *place)
            truth, hit = None, None
        scores = self._chances(self._reported(confidence), count)
        tokens = self._tokens(place, count, truth, hit)
        return [(token, max(SCORE_MIN, score)) for token, score in zip(tokens, scores, strict=True)]

    def _first_wrong(self, request: RequestId, start: int, path: Sequence[int]) -> int | None:
        for position, token in enumerate(path, start):
            if token != self._text.token(request, position):
                return position
        return None

    def _confidence(self, request: RequestId, position: int) -> float:
        known = self._confidences.setdefault(request, [])
        law = self._parameters
        rate = law.rate_of(request)
        while len(known) <= position:
            place = len(known)
            if known and draw(self._seed, _KEEP, request, place) < law.persistence:
                known.append(known[-1])
            else:
                known.append(draw_beta(rate, law.spread, self._seed, _CONFIDENCE, request, place, -1))
        return known[position]

    def _chances(self, confidence: float, count: int) -> list[float]:
        """[count] the chance of each rank to be the target's token; falling, their sum is at most 1."""
        chances, left = [confidence], 1 - confidence
        for rank in range(count - 1):
            rates = self._parameters.runners_up
            chance = min(chances[-1], left * rates[rank]) if rank < len(rates) else 0.0
            chances.append(chance)
            left -= chance
        return chances[:count]

    def _stream(self, place: tuple[int, int, int]) -> int:
        """Whose numbers are drawn at a place: those of all drafters, or this one's own."""
        shared = draw(self._seed, _OWN, self._index, *place) < self._agreement
        return -1 if shared else self._index

    def _hit_rank(self, chances: Sequence[float], place: tuple[int, int, int]) -> int | None:
        left = draw(self._seed, _HIT, self._stream(place), *place)
        for rank, chance in enumerate(chances):
            left -= chance
            if left < 0:
                return rank
        return None

    def _tokens(
        self, place: tuple[int, int, int], count: int, truth: int | None, hit: int | None
    ) -> list[int]:
        """Distinct tokens, wrong ones but for the rank that hits."""
        stream = self._stream(place)
        tokens: list[int] = []
        for rank in range(count):
            if rank == hit and truth is not None:
                tokens.append(truth)
                continue
            token = draw_bits(self._seed, _WRONG, stream, *place, rank) % VOCABULARY_SIZE
            while token in tokens or token == truth:
                token = (token + 1) % VOCABULARY_SIZE
            tokens.append(token)
        return tokens

    def _path_key(self, request: RequestId, wrong_at: int, path: Sequence[int]) -> int:
        return draw_bits(self._seed, _PATH, request, wrong_at, *path) >> 1

    def _reported(self, confidence: float) -> float:
        """The confidence as the drafter sees it."""
        sharpness = self._parameters.sharpness
        odds = math.pow(confidence, sharpness) * math.exp(self._parameters.bias)
        return odds / (odds + math.pow(1 - confidence, sharpness))
