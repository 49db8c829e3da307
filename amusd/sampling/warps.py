"""From a model's logits to the law that is sampled, in vLLM's order.

Order: bans (`allowed_token_ids`, bad words, end tokens while the output is shorter than `min_tokens`);
`logit_bias`; Python logits processors; repetition, then frequency, then presence penalty; temperature;
min-p; top-k; top-p; typical. Greedy requests stop before the temperature, which cannot change the most
likely token.

Law: a row's result is a function of that row, its position and its prefix, bit for bit. What is exact
per element works on all rows at once; whatever sums (softmax, cumsum) sees one row at a time, because
the shape of a tensor may change the order of a sum.
"""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor
from transformers.generation.logits_process import LogitsProcessor, TemperatureLogitsWarper

from amusd.errors import InputError
from amusd.params import PythonProcessor, SamplingParams
from amusd.sampling.bans import Bans
from amusd.sampling.cuts import cuts_of
from amusd.sampling.penalties import Penalties
from amusd.sampling.prefixes import Prefixes

_NO_IDS = torch.empty(1, 0, dtype=torch.int64)


class Warps:
    """All the processors of one request.

    Args:
        params: the request's settings.
        vocabulary_size: real tokens; columns beyond are padding and dropped.
        prompt_length: tokens of the prompt.
        end_tokens: what `min_tokens` bans beside `params.stop_token_ids`.
        device: where the logits are.

    Raises:
        InputError: a token id of the settings is not in the vocabulary.
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
        for field, ids in params.token_ids().items():
            _check_ids(field, ids, vocabulary_size)
        self._vocabulary_size = vocabulary_size
        self._device = device
        self._bans = Bans(
            params,
            vocabulary_size=vocabulary_size,
            prompt_length=prompt_length,
            end_tokens={*end_tokens, *params.stop_token_ids},
            device=device,
        )
        self._bias_ids = torch.tensor(list(params.logit_bias), dtype=torch.int64, device=device)
        self._biases = torch.tensor(list(params.logit_bias.values()), dtype=torch.float32, device=device)
        self._python: tuple[PythonProcessor, ...] = params.logits_processors
        self._penalties = Penalties(params, prompt_length, device) if Penalties.wanted(params) else None
        self._temperature: LogitsProcessor | None = None
        self._cuts: list[LogitsProcessor] = []
        if not params.greedy:
            if params.temperature != 1.0:
                self._temperature = TemperatureLogitsWarper(float(params.temperature))
            self._cuts = cuts_of(params, vocabulary_size)

    @property
    def needs_prefix(self) -> bool:
        """Whether a row's result depends on the tokens before it."""
        return self._penalties is not None or bool(self._python) or self._bans.needs_prefix

    def __call__(
        self, logits: Tensor, positions: Sequence[int], prefixes: Sequence[Sequence[int]] | None = None
    ) -> Tensor:
        """Warp some rows.

        Args:
            logits: [rows, at least vocab], any float dtype; left as they are.
            positions: absolute position of the token that each row predicts.
            prefixes: all tokens before each position, best as `Prefixes`; may be None unless `needs_prefix`.

        Returns:
            [rows, vocab] float32, -inf where a token cannot be chosen.
        """
        before = None
        if self.needs_prefix:
            if prefixes is None:
                raise ValueError("these settings need the tokens before each row: give prefixes")
            before = Prefixes.of(prefixes)
        scores = self._bans(logits[:, : self._vocabulary_size].to(torch.float32), positions, before)
        if len(self._bias_ids):
            scores = scores.index_add(1, self._bias_ids, self._biases.expand(len(scores), -1))
        if before is not None:
            if self._python:
                scores = torch.cat(
                    [self._process(row, ids) for row, ids in zip(_rows(scores), before, strict=True)]
                )
            if self._penalties is not None:
                scores = self._penalties(scores, before)
        if self._temperature is not None:
            scores = self._temperature(_NO_IDS, scores)
        if self._cuts:
            scores = torch.cat([self._cut(row) for row in _rows(scores)])
        return scores

    def _process(self, row: Tensor, prefix: Sequence[int]) -> Tensor:
        """A row through the Python processors, each on a copy that it may write to."""
        ids = torch.tensor([prefix], dtype=torch.int64, device=self._device)  # [1, length]
        row = row.clone()
        for processor in self._python:
            row = _call(processor, ids, row)
        return row

    def _cut(self, row: Tensor) -> Tensor:
        for cut in self._cuts:
            row = cut(_NO_IDS, row)
        return row


def _rows(scores: Tensor) -> list[Tensor]:
    """[rows, vocab] to as many [1, vocab]."""
    return [scores[row : row + 1] for row in range(len(scores))]


def _call(processor: PythonProcessor, ids: Tensor, row: Tensor) -> Tensor:
    """What a processor makes of a row; raises InputError where it fails or returns something else."""
    shape = row.shape
    try:
        returned = processor(ids, row)
    except Exception as error:
        raise InputError(
            "logits_processors", repr(processor), f"it raised {type(error).__name__}: {error}"
        ) from error
    if not isinstance(returned, Tensor) or returned.shape != shape:
        got = tuple(returned.shape) if isinstance(returned, Tensor) else type(returned).__name__
        raise InputError(
            "logits_processors", repr(processor), f"it returned {got}, not scores of {tuple(shape)}"
        )
    return returned.to(row)


def _check_ids(field: str, ids: Collection[int], vocabulary_size: int) -> None:
    for token in ids:
        if token >= vocabulary_size:
            raise InputError(field, token, f"give token ids below {vocabulary_size}, the vocabulary's size")
