"""A request's own choice at every row: the winner of an exponential race between the tokens.

Token v with warped logit z arrives at E / exp(z), E ~ Exp(1): the first arrival is a draw from
softmax(z). Both sides race with the same E, so a draft that agrees with the target on the law mostly
agrees on the winner, and its runners-up are the likeliest corrections (ERSD, arXiv 2504.15475; Daliri,
Musco & Suresh 2024, arXiv 2408.07978). Keys are compared as log E - z: smaller is earlier.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

import torch
from torch import Tensor

from amusd.params import SamplingParams
from amusd.sampling.races import RaceNoise
from amusd.sampling.warps import Warps

SCORE_MIN: Final = 1e-6
_TIES_MAX: Final = 8

Law = Callable[[Tensor], Tensor]
"""[vocab] float64 probabilities to those of the token that is emitted."""


class RowSampler:
    """The sampler of one request on one side.

    A row's keys depend on the row, its position, its prefix and the settings; on nothing else in the call.

    Args:
        params: the request's settings; its `seed` is not looked at.
        seed: of the race noise, 0 to 2^63 - 1.
        vocabulary_size: real tokens; padding columns are dropped.
        prompt_length: tokens of the prompt.
        sample_index: which of several outputs of the same prompt.
        device: where the logits are.
        end_tokens: what `min_tokens` masks beside `params.stop_token_ids`.
        noiseless: the most likely token comes first, whatever the temperature.

    Raises:
        InputError: a token id of the settings is not in the vocabulary.
    """

    def __init__(
        self,
        params: SamplingParams,
        *,
        seed: int,
        vocabulary_size: int,
        prompt_length: int,
        sample_index: int = 0,
        device: torch.device | str = "cpu",
        end_tokens: Collection[int] = (),
        noiseless: bool = False,
    ) -> None:
        self._warps = Warps(
            params,
            vocabulary_size=vocabulary_size,
            prompt_length=prompt_length,
            end_tokens=end_tokens,
            device=device,
        )
        without = params.greedy or noiseless
        self._noise = None if without else RaceNoise(seed, vocabulary_size, sample_index, device)

    @property
    def needs_prefix(self) -> bool:
        """Whether `arrivals` needs the tokens before each row."""
        return self._warps.needs_prefix

    @torch.inference_mode()
    def arrivals(
        self,
        logits: Tensor,
        positions: Sequence[int],
        prefixes: Sequence[Sequence[int]] | None = None,
        laws: Mapping[int, Law] | None = None,
    ) -> Tensor:
        """When each token arrives at each row.

        Args:
            logits: [rows, at least vocab], any float dtype; row i predicts the token at positions[i].
            positions: absolute, counting the prompt.
            prefixes: all tokens before each position; may be None unless `needs_prefix`.
            laws: by row, what is drawn from instead of the warped probabilities; not looked at without noise.

        Returns:
            [rows, vocab] float32 keys log E - z, without noise -z; +inf for tokens that cannot be chosen.
        """
        warped = self._warps(logits, positions, prefixes)
        if self._noise is None:
            return -warped
        if laws:
            warped = warped.clone()
            for row, law in laws.items():
                warped[row] = law(_softmax(warped[row])).log()
        return self._noise.rows(positions).sub_(warped)

    @torch.inference_mode()
    def probabilities(
        self, logits: Tensor, positions: Sequence[int], prefixes: Sequence[Sequence[int]] | None = None
    ) -> Tensor:
        """The law of each row, [rows, vocab] float64 (see `arrivals`)."""
        return _softmax(self._warps(logits, positions, prefixes))

    @staticmethod
    def winners(arrivals: Tensor) -> list[int]:
        """The first arrival of each row of [rows, vocab]; of exact ties the lowest id."""
        return _earliest(arrivals).tolist()

    @staticmethod
    def candidates(arrivals: Tensor, count: int) -> list[list[tuple[int, float]]]:
        """The first arrivals of each row, earliest first; of exact ties the lowest id first.

        The tie rule holds for up to eight more ties than `count`; then other equals may come out, which a
        guess can afford.

        Args:
            arrivals: [rows, vocab] keys.
            count: at most so many per row; tokens that cannot be chosen are none.

        Returns:
            per row (token, score), the score softmax(-arrivals) of the token, clipped to [1e-6, 1].
        """
        totals = torch.logsumexp(-arrivals, dim=1).tolist()
        first = arrivals.topk(min(count + _TIES_MAX, arrivals.shape[1]), dim=1, largest=False)
        found = []
        for total, keys, ids in zip(totals, first.values.tolist(), first.indices.tolist(), strict=True):
            ordered = sorted(zip(keys, ids, strict=True))[:count]
            found.append([(token, _score(-key - total)) for key, token in ordered if key < math.inf])
        return found


def _softmax(warped: Tensor) -> Tensor:
    return warped.to(torch.float64).softmax(dim=-1)


def _score(log_share: float) -> float:
    return min(1.0, max(SCORE_MIN, math.exp(min(0.0, log_share))))


def _earliest(keys: Tensor) -> Tensor:
    """[rows, vocab] to [rows] int64: where each row is smallest, of equals the lowest id."""
    if keys.device.type == "cpu":
        # numpy's argmin keeps the first of equals and is ten times as fast as torch's on a CPU.
        return torch.from_numpy(keys.numpy().argmin(axis=1))
    return _earliest_anywhere(keys)


def _earliest_anywhere(keys: Tensor) -> Tensor:
    """The same on any device: torch's argmin promises nothing about equals."""
    ids = torch.arange(keys.shape[1], device=keys.device)
    return ids.where(keys == keys.amin(dim=1, keepdim=True), keys.shape[1]).amin(dim=1)
