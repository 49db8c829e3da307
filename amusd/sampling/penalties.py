"""Repetition, frequency and presence penalties, on all rows at once."""

import torch
from torch import Tensor

from amusd.params import SamplingParams
from amusd.sampling.prefixes import Prefixes, TokenCounts


class Penalties:
    """The three penalties in vLLM's order; only tokens that occur are touched.

    Repetition (arXiv 1909.05858) counts prompt and output, frequency and presence the output alone, as
    OpenAI and vLLM define them. Everything here is exact per element, so a row does not see the others.

    Args:
        params: the request's settings.
        prompt_length: tokens that are prompt.
        device: where the logits are.
    """

    def __init__(self, params: SamplingParams, prompt_length: int, device: torch.device | str) -> None:
        self._repetition = float(params.repetition_penalty)
        self._frequency = params.frequency_penalty
        self._presence = params.presence_penalty
        self._counts = TokenCounts(prompt_length, device)

    @staticmethod
    def wanted(params: SamplingParams) -> bool:
        """Whether any of them does something."""
        return bool(params.repetition_penalty != 1.0 or params.frequency_penalty or params.presence_penalty)

    def __call__(self, scores: Tensor, prefixes: Prefixes) -> Tensor:
        """[rows, vocab] float32 and as many prefixes to a fresh [rows, vocab] float32."""
        ids, outputs, occurs = self._counts.of(prefixes)
        found = scores.index_select(1, ids)  # [rows, columns]
        if self._repetition != 1.0:
            repeated = torch.where(found < 0, found * self._repetition, found / self._repetition)
            found = torch.where(occurs, repeated, found)
        if self._frequency or self._presence:
            found = found - self._frequency * outputs - self._presence * (outputs > 0)
        return scores.index_copy(1, ids, found)
