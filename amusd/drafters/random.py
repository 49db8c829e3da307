"""A drafter that guesses blindly: it proves that the text never depends on the drafter."""

from collections.abc import Collection, Mapping, Sequence
from random import Random
from typing import Any

from amusd.drafters.base import Candidates, Expansion
from amusd.params import TOKENS_MAX, SamplingParams
from amusd.speculation.messages import NodeId, RequestId


class RandomDrafter:
    """Proposes tokens drawn evenly from the vocabulary.

    Args:
        vocabulary_size: tokens to draw from.
        seed: of the draws.
    """

    def __init__(self, vocabulary_size: int, seed: int = 0) -> None:
        self.step_seconds: Mapping[int, float] = {}
        self._vocabulary_size = vocabulary_size
        self._draws = Random(seed)

    @property
    def length_max(self) -> int:
        """No position is too far for a blind guess."""
        return TOKENS_MAX

    def describe(self) -> dict[str, Any]:
        """Facts for the start-up print."""
        size = self._vocabulary_size
        return {"summary": f"random guesses among {size} tokens", "model": "random", "vocabulary_size": size}

    def open(
        self,
        request: RequestId,
        tokens: Sequence[int],
        prompt_length: int,
        params: SamplingParams,
        seed: int,
        *,
        sample_index: int = 0,
        end_tokens: Collection[int] = (),
    ) -> None:
        """Nothing to prepare."""

    def read(self, request: RequestId, rows_max: int) -> int:
        """Nothing to read."""
        return 0

    def close(self, request: RequestId) -> None:
        """Nothing to forget."""

    def expand(self, items: Sequence[Expansion]) -> list[Candidates]:
        """Distinct tokens, each with the score of an even draw."""
        return [self._draw(item.count) for item in items]

    def on_commit(
        self,
        request: RequestId,
        committed: Mapping[NodeId, int],
        dropped: Sequence[NodeId],
        tokens: Sequence[int],
        length: int,
    ) -> None:
        """The log does not matter to a blind guess."""

    def truncate(self, request: RequestId, tokens: Sequence[int]) -> None:
        """The log does not matter to a blind guess."""

    def _draw(self, count: int) -> Candidates:
        chosen = self._draws.sample(range(self._vocabulary_size), min(count, self._vocabulary_size))
        return [(token, 1.0 / self._vocabulary_size) for token in chosen]
