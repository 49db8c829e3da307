"""From a model's logits to the law that is sampled, in vLLM's order.

Order: end tokens masked while the output is shorter than `min_tokens`; `logit_bias`; repetition, then
frequency, then presence penalty; temperature; min-p; top-k; top-p. Greedy requests stop before the
temperature, which cannot change the most likely token.

Law: a row's result is a function of that row, its position and its prefix, bit for bit. What is exact
per element works on all rows at once; whatever sums (softmax, cumsum) sees one row at a time, because
the shape of a tensor may change the order of a sum.
"""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor
from transformers.generation.logits_process import (
    LogitsProcessor,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
)

from amusd.errors import InputError
from amusd.params import SamplingParams

_NO_IDS = torch.empty(1, 0, dtype=torch.int64)


class CountPenalties(LogitsProcessor):
    """Frequency and presence penalties over the output, as OpenAI and vLLM define them.

    Args:
        frequency: taken off a token's logit per occurrence.
        presence: taken off once if the token occurs.
        prompt_length: tokens that do not count.
    """

    def __init__(self, frequency: float, presence: float, prompt_length: int) -> None:
        self._frequency = frequency
        self._presence = presence
        self._prompt_length = prompt_length

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """[1, length] int64 and [1, vocab] float32 to [1, vocab] float32."""
        counts = torch.bincount(input_ids[0, self._prompt_length :], minlength=scores.shape[1])  # [vocab]
        return scores - self._frequency * counts - self._presence * (counts > 0)


class TopP(LogitsProcessor):
    """Keep the fewest most likely tokens that together reach `top_p`; of equals, the lowest ids.

    The meaning is that of transformers' TopPLogitsWarper, which sorts the whole row: 10 ms for 150,000
    tokens on a Zen 5 core. Here tokens below (1 - top_p) / vocab, which fall even if all of them do,
    are set aside first, and only the rest is sorted: 0.4 ms. That class also breaks ties at random.
    """

    def __init__(self, top_p: float) -> None:
        self._top_p = top_p

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """[1, length] int64, unused, and [1, vocab] float32 to [1, vocab] float32."""
        row = scores[0]
        probabilities = row.softmax(dim=0)  # [vocab]
        floor = (1.0 - self._top_p) / len(row)
        nominees = (probabilities >= floor).nonzero()[:, 0]  # [nominees], ascending
        ranked, order = probabilities.index_select(0, nominees).sort(descending=True, stable=True)
        before = ranked.cumsum(dim=0, dtype=torch.float64).sub_(ranked)  # mass of more likely tokens
        kept = nominees.index_select(0, order[before < self._top_p])
        warped = torch.full_like(scores, -torch.inf)
        warped[0].index_copy_(0, kept, row.index_select(0, kept))
        return warped


class Warps:
    """All the processors of one request.

    Args:
        params: the request's settings.
        vocabulary_size: real tokens; columns beyond are padding and dropped.
        prompt_length: tokens of the prompt.
        end_tokens: what `min_tokens` masks beside `params.stop_token_ids`.
        device: where the logits are.

    Raises:
        InputError: a token id of `logit_bias` or `stop_token_ids` is not in the vocabulary.
    """

    def __init__(
        self,
        params: SamplingParams,
        *,
        vocabulary_size: int,
        prompt_length: int,
        end_tokens: Collection[int] = (),
        device: torch.device | str = "cpu",
    ) -> None:
        _check_ids("logit_bias", params.logit_bias, vocabulary_size)
        _check_ids("stop_token_ids", params.stop_token_ids, vocabulary_size)
        self._vocabulary_size = vocabulary_size
        self._device = device
        self._free_from = prompt_length + params.min_tokens  # first position that may hold an end token
        ends = sorted(end for end in {*end_tokens, *params.stop_token_ids} if end < vocabulary_size)
        self._end_ids = torch.tensor(ends, dtype=torch.int64, device=device)
        self._bias_ids = torch.tensor(list(params.logit_bias), dtype=torch.int64, device=device)
        self._biases = torch.tensor(list(params.logit_bias.values()), dtype=torch.float32, device=device)
        self._penalties = _penalties(params, prompt_length)
        self._temperature: LogitsProcessor | None = None
        self._cuts: list[LogitsProcessor] = []
        if not params.greedy:
            if params.temperature != 1.0:
                self._temperature = TemperatureLogitsWarper(float(params.temperature))
            self._cuts = _cuts(params, vocabulary_size)

    @property
    def needs_prefix(self) -> bool:
        """Whether a row's result depends on the tokens before it."""
        return bool(self._penalties)

    def __call__(
        self, logits: Tensor, positions: Sequence[int], prefixes: Sequence[Sequence[int]] | None = None
    ) -> Tensor:
        """Warp some rows.

        Args:
            logits: [rows, at least vocab], any float dtype; left as they are.
            positions: absolute position of the token that each row predicts.
            prefixes: all tokens before each position; may be None unless `needs_prefix`.

        Returns:
            [rows, vocab] float32, -inf where a token cannot be chosen.
        """
        scores = logits[:, : self._vocabulary_size].to(torch.float32)
        held = [row for row, position in enumerate(positions) if position < self._free_from]
        if len(self._bias_ids) or (held and len(self._end_ids)):
            scores = scores.clone()
            for row in held:
                scores[row, self._end_ids] = -torch.inf
            scores[:, self._bias_ids] += self._biases
        if self._penalties:
            if prefixes is None:
                raise ValueError("penalties need the tokens before each row: give prefixes")
            rows = zip(_rows(scores), prefixes, strict=True)
            scores = torch.cat([self._penalize(row, prefix) for row, prefix in rows])
        if self._temperature is not None:
            scores = self._temperature(_NO_IDS, scores)
        if self._cuts:
            scores = torch.cat([self._cut(row) for row in _rows(scores)])
        return scores

    def _penalize(self, row: Tensor, prefix: Sequence[int]) -> Tensor:
        ids = torch.tensor([list(prefix)], dtype=torch.int64, device=self._device)  # [1, length]
        for penalty in self._penalties:
            row = penalty(ids, row)
        return row

    def _cut(self, row: Tensor) -> Tensor:
        for cut in self._cuts:
            row = cut(_NO_IDS, row)
        return row


def _rows(scores: Tensor) -> list[Tensor]:
    """[rows, vocab] to as many [1, vocab]."""
    return [scores[row : row + 1] for row in range(len(scores))]


def _penalties(params: SamplingParams, prompt_length: int) -> list[LogitsProcessor]:
    found: list[LogitsProcessor] = []
    if params.repetition_penalty != 1.0:
        found.append(RepetitionPenaltyLogitsProcessor(float(params.repetition_penalty)))
    if params.frequency_penalty or params.presence_penalty:
        found.append(CountPenalties(params.frequency_penalty, params.presence_penalty, prompt_length))
    return found


def _cuts(params: SamplingParams, vocabulary_size: int) -> list[LogitsProcessor]:
    found: list[LogitsProcessor] = []
    if params.min_p > 0.0:
        found.append(MinPLogitsWarper(params.min_p))
    if 0 < params.top_k < vocabulary_size:
        found.append(TopKLogitsWarper(params.top_k))
    if params.top_p < 1.0:
        found.append(TopP(params.top_p))
    return found


def _check_ids(field: str, ids: Collection[int], vocabulary_size: int) -> None:
    for token in ids:
        if token >= vocabulary_size:
            raise InputError(field, token, f"give token ids below {vocabulary_size}, the vocabulary's size")
