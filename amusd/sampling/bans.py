"""Tokens that cannot be chosen: those that are not allowed, end tokens too early, ends of bad words."""

from collections import defaultdict
from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from amusd.params import SamplingParams
from amusd.sampling.prefixes import Prefixes


class Bans:
    """The bans of one request, with vLLM's meaning.

    A bad word is banned by its last token, where the output ends with the tokens before it; the prompt does
    not count. Of a row that bans leave nothing, the race comes to its lowest token, as in vLLM.

    Args:
        params: the request's settings.
        vocabulary_size: columns of the logits.
        prompt_length: tokens of the prompt.
        end_tokens: what may not be chosen before `params.min_tokens` of output.
        device: where the logits are.
    """

    def __init__(
        self,
        params: SamplingParams,
        *,
        vocabulary_size: int,
        prompt_length: int,
        end_tokens: Collection[int],
        device: torch.device | str,
    ) -> None:
        self._prompt_length = prompt_length
        self._free_from = prompt_length + params.min_tokens  # first position that may hold an end token
        self._ends = sorted(end for end in end_tokens if end < vocabulary_size)
        self._static = _static_bans(params, vocabulary_size, device)
        self._completions: dict[tuple[int, ...], set[int]] = defaultdict(set)
        for word in params.bad_words_ids:
            if len(word) > 1:
                self._completions[word[:-1]].add(word[-1])
        self._begin_lengths = sorted({len(begin) for begin in self._completions})

    @property
    def needs_prefix(self) -> bool:
        """Whether a row's result depends on the tokens before it."""
        return bool(self._completions)

    def __call__(self, scores: Tensor, positions: Sequence[int], prefixes: Prefixes | None) -> Tensor:
        """[rows, vocab] float32 to the same with -inf where a token cannot be chosen; the input stays."""
        if self._static is not None:
            scores = scores.masked_fill(self._static, -torch.inf)
        rows, tokens = self._found(positions, prefixes)
        if rows:
            if self._static is None:
                scores = scores.clone()
            scores[rows, tokens] = -torch.inf
        return scores

    def _found(self, positions: Sequence[int], prefixes: Prefixes | None) -> tuple[list[int], list[int]]:
        """The bans that depend on the row, as rows and tokens."""
        rows, tokens = [], []
        for row, position in enumerate(positions):
            if position < self._free_from:
                rows += [row] * len(self._ends)
                tokens += self._ends
            for length in self._begin_lengths:
                assert prefixes is not None
                begin = prefixes.output_end(row, self._prompt_length, length)
                ends = self._completions.get(begin, ())
                rows += [row] * len(ends)
                tokens += ends
        return rows, tokens


def _static_bans(params: SamplingParams, vocabulary_size: int, device: torch.device | str) -> Tensor | None:
    """[vocab] bool, what no row may choose; None if that is nothing."""
    lone = [word[0] for word in params.bad_words_ids if len(word) == 1]
    if params.allowed_token_ids is None and not lone:
        return None
    banned = torch.zeros(vocabulary_size, dtype=torch.bool, device=device)
    if params.allowed_token_ids is not None:
        banned.fill_(True)
        banned[list(params.allowed_token_ids)] = False
    banned[lone] = True
    return banned
