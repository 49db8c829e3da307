"""What becomes of one request's committed tokens: text, chunks of it, and the finished output."""

from collections.abc import Sequence
from typing import Any

from amusd.coordinator.live import LiveRequest
from amusd.coordinator.text import TextStream
from amusd.logprobs import Logprob, RowLogprobs, named_logprobs
from amusd.outputs import Chunk, RequestMetrics, RequestOutput
from amusd.speculation.messages import Origin

Span = tuple[str, Origin]


class Answer:
    """The output of a live request as far as it goes.

    Args:
        tokenizer: a transformers tokenizer backed by the tokenizers library.
        request: whose tokens are added.
    """

    def __init__(self, tokenizer: Any, request: LiveRequest) -> None:
        params = request.order.params
        self.tokens: list[int] = []
        self._request = request
        self._tokenizer = tokenizer
        self._text = TextStream(
            tokenizer,
            request.order.tokens,
            params.stop,
            include_stop=params.include_stop_str_in_output,
            min_tokens=params.min_tokens,
            skip_special=params.skip_special_tokens,
        )
        self._logprobs: list[dict[int, Logprob]] | None = None if params.logprobs is None else []
        self._cumulative = 0.0
        self._spans: list[Span] = []  # of the chunk at hand
        self._fresh: list[tuple[int, Origin]] = []  # likewise

    @property
    def stopped(self) -> bool:
        """Whether a stop string has ended the text."""
        return self._text.stopped

    def add(self, fresh: Sequence[tuple[int, Origin]]) -> None:
        """Take committed tokens, each with its origin, up to the end of the text."""
        order = self._request.order
        for token, origin in fresh:
            self.tokens.append(token)
            self._fresh.append((token, origin))
            if self._logprobs is not None:
                row = self._request.logprobs.pop(order.prompt_length + len(self.tokens) - 1)
                self._cumulative += row.logprobs[0]
                self._logprobs.append(self._named(row))
            if token not in order.end_tokens or order.params.include_stop_str_in_output:
                self._spans += self._text.push(token, origin)
            if self._text.stopped:
                return

    def end(self) -> None:
        """No more tokens: release what was held back."""
        self._spans += self._text.finish()

    def chunk(self, finished: RequestOutput | None) -> Chunk:
        """What came since the last chunk."""
        fresh, self._fresh = self._fresh, []
        spans, self._spans = self._spans, []
        return Chunk(
            text="".join(text for text, _ in spans),
            token_ids=tuple(token for token, _ in fresh),
            origins=tuple(origin for _, origin in fresh),
            spans=tuple(spans),
            finished=finished,
            index=self._request.order.sample_index,
            logprobs=None if self._logprobs is None else self._logprobs[len(self._logprobs) - len(fresh) :],
        )

    def output(self, prompt: str | None, own_ends: frozenset[int], metrics: RequestMetrics) -> RequestOutput:
        """The finished output.

        Args:
            own_ends: the model's own end tokens.
        """
        order = self._request.order
        reason = "stop" if self.stopped else str(self._request.ledger.final)
        stop: str | int | None = self._text.stopped_by
        if reason == "stop" and stop is None:
            last = self.tokens[-1]
            stop = last if order.params.ignore_eos or last not in own_ends else None
        return RequestOutput(
            prompt=prompt,
            prompt_token_ids=order.tokens,
            text=self._text.text,
            token_ids=tuple(self.tokens),
            finish_reason=reason,
            seed=order.seed,
            metrics=metrics,
            notes=tuple(self._request.notes),
            stop_reason=stop,
            index=order.sample_index,
            logprobs=self._logprobs,
            cumulative_logprob=None if self._logprobs is None else self._cumulative,
            prompt_logprobs=self._prompt_logprobs(),
        )

    def _prompt_logprobs(self) -> list[dict[int, Logprob] | None] | None:
        order = self._request.order
        if order.params.prompt_logprobs is None:
            return None
        rows = (self._request.logprobs[place] for place in range(1, order.prompt_length))
        return [None, *map(self._named, rows)]

    def _named(self, row: RowLogprobs) -> dict[int, Logprob]:
        decode = self._tokenizer.backend_tokenizer.decode
        return named_logprobs(row, lambda token: str(decode([token], skip_special_tokens=False)))
