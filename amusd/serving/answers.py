"""Chunks and outputs in the form of OpenAI's answers.

A choice is one output of one prompt: number `prompt * n + output`.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

from amusd.logprobs import Logprob
from amusd.outputs import Chunk, RequestMetrics, RequestOutput

Positions = Sequence[dict[int, Logprob] | None]


@dataclass(slots=True)
class CompletionAnswers:
    """Answers of `/v1/completions`.

    Args:
        identity: of the request.
        model: as clients call it.
        echoed: what the answers to each prompt begin with; empty for none.
        n: outputs of each prompt.
        spans: whether pieces cut their text into runs, each with who wrote it.
    """

    identity: str
    model: str
    num_speculative_tokens: int
    n: int
    echoed: tuple[str, ...] = ()
    spans: bool = False
    created: int = field(default_factory=lambda: int(time.time()))
    _lengths: dict[int, int] = field(default_factory=dict)  # of each choice's text so far, in characters

    def first(self) -> list[dict[str, Any]]:
        """What a stream begins with."""
        texts = [text for text in self.echoed for _ in range(self.n)]
        return [self._chunk([self._choice(i, text, None, None)]) for i, text in enumerate(texts) if text]

    def piece(self, prompt: int, chunk: Chunk) -> dict[str, Any]:
        """One piece of a stream."""
        index, begun = prompt * self.n + chunk.index, len(self.echoed[prompt]) if self.echoed else 0
        offset = self._lengths.get(index, begun)
        self._lengths[index] = offset + sum(map(_width, chunk.logprobs or ()))
        choice = self._choice(index, chunk.text, chunk.finished, chunk.logprobs, offset)
        if self.spans:
            choice["spans"] = chunk.spans
        return self._chunk([choice])

    def last(self, outputs: Sequence[RequestOutput]) -> dict[str, Any]:
        """What a stream ends with where usage is wanted."""
        return self._chunk([]) | usage(outputs, self.num_speculative_tokens)

    def whole(self, outputs: Sequence[RequestOutput]) -> dict[str, Any]:
        """The answer in one."""
        choices = []
        for index, output in enumerate(outputs):
            begun = self.echoed[index // self.n] if self.echoed else ""
            choice = self._choice(index, begun + output.text, output, output.logprobs, len(begun))
            if output.prompt_logprobs is not None:
                choice["prompt_logprobs"] = prompt_logprobs(output.prompt_logprobs)
            choices.append(choice)
        return self._chunk(choices) | usage(outputs, self.num_speculative_tokens)

    def _choice(
        self,
        index: int,
        text: str,
        finished: RequestOutput | None,
        logprobs: Positions | None,
        offset: int = 0,
    ) -> dict[str, Any]:
        return {
            "index": index,
            "text": text,
            "logprobs": None if logprobs is None else completion_logprobs(logprobs, offset),
            "finish_reason": finished and finished.finish_reason,
            "stop_reason": finished and finished.stop_reason,
        }

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": f"cmpl-{self.identity}",
            "object": "text_completion",
            "created": self.created,
            "model": self.model,
            "choices": choices,
        }


@dataclass(slots=True)
class ChatAnswers:
    """Answers of `/v1/chat/completions`.

    Args:
        identity, model, n: as those of `CompletionAnswers`.
        top_logprobs: how many of the likeliest tokens are told at each position, where any are.
    """

    identity: str
    model: str
    num_speculative_tokens: int
    n: int
    top_logprobs: int = 0
    created: int = field(default_factory=lambda: int(time.time()))

    def first(self) -> list[dict[str, Any]]:
        """What a stream begins with."""
        delta = {"role": "assistant", "content": ""}
        return [self._chunk([self._choice(index, {"delta": delta}, None, None)]) for index in range(self.n)]

    def piece(self, prompt: int, chunk: Chunk) -> dict[str, Any]:
        """One piece of a stream."""
        delta = {"content": chunk.text} if chunk.text else {}
        return self._chunk([self._choice(chunk.index, {"delta": delta}, chunk.finished, chunk.logprobs)])

    def last(self, outputs: Sequence[RequestOutput]) -> dict[str, Any]:
        """What a stream ends with where usage is wanted."""
        return self._chunk([]) | usage(outputs, self.num_speculative_tokens)

    def whole(self, outputs: Sequence[RequestOutput]) -> dict[str, Any]:
        """The answer in one."""
        choices = [
            self._choice(output.index, {"message": self._message(output)}, output, output.logprobs)
            for output in outputs
        ]
        answer = self._chunk(choices) | {"object": "chat.completion"}
        if outputs[0].prompt_logprobs is not None:
            answer["prompt_logprobs"] = prompt_logprobs(outputs[0].prompt_logprobs)
        return answer | usage(outputs, self.num_speculative_tokens)

    def _message(self, output: RequestOutput) -> dict[str, Any]:
        return {"role": "assistant", "content": output.text, "refusal": None}

    def _choice(
        self, index: int, said: dict[str, Any], finished: RequestOutput | None, logprobs: Positions | None
    ) -> dict[str, Any]:
        return {
            "index": index,
            **said,
            "logprobs": None if logprobs is None else chat_logprobs(logprobs, self.top_logprobs),
            "finish_reason": finished and finished.finish_reason,
            "stop_reason": finished and finished.stop_reason,
        }

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{self.identity}",
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": choices,
        }


Answers = CompletionAnswers | ChatAnswers


def completion_logprobs(positions: Positions, offset: int) -> dict[str, Any]:
    """Log-probabilities in the form of completions.

    Args:
        offset: where the first token's text begins in the answer's, in characters.
    """
    found: dict[str, list[Any]] = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
    for position in positions:
        own, *likely = (position or {}).values()
        found["tokens"].append(own.decoded_token)
        found["token_logprobs"].append(own.logprob)
        found["top_logprobs"].append({each.decoded_token: each.logprob for each in (own, *likely)})
        found["text_offset"].append(offset)
        offset += _width(position)
    return found


def chat_logprobs(positions: Positions, top: int) -> dict[str, Any]:
    """Log-probabilities in the form of chats.

    Args:
        top: how many of the likeliest tokens were asked for.
    """
    content = []
    for position in positions:
        every = list((position or {}).values())
        likely = [each for each in every if each.rank is not None and each.rank <= top]
        likely.sort(key=lambda each: -each.logprob)
        content.append({**_token(every[0]), "top_logprobs": [_token(each) for each in likely]})
    return {"content": content, "refusal": None}


def prompt_logprobs(positions: Positions) -> list[dict[str, Any] | None]:
    """Log-probabilities of a prompt as vLLM returns them: by token id, None for the first token."""
    return [
        None if position is None else {str(token): asdict(each) for token, each in position.items()}
        for position in positions
    ]


def _token(each: Logprob) -> dict[str, Any]:
    text = each.decoded_token or ""
    return {"token": text, "logprob": each.logprob, "bytes": list(text.encode())}


def _width(position: dict[int, Logprob] | None) -> int:
    """Characters of the token that stands there."""
    own = next(iter((position or {}).values()), None)
    return 0 if own is None else len(own.decoded_token or "")


def token_counts(prompt: int, completion: int) -> dict[str, int]:
    """Tokens read and written, in OpenAI's form."""
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def usage(outputs: Sequence[RequestOutput], num_speculative_tokens: int) -> dict[str, Any]:
    """Token counts, and how a single request went, in the form of vLLM's per-request metrics."""
    prompt = sum(len(output.prompt_token_ids) for output in outputs if output.index == 0)
    completion = sum(len(output.token_ids) for output in outputs)
    counts = token_counts(prompt, completion)
    if len(outputs) != 1:
        return {"usage": counts, "metrics": None}
    return {"usage": counts, "metrics": request_metrics(outputs[0], num_speculative_tokens)}


def request_metrics(output: RequestOutput, num_speculative_tokens: int) -> dict[str, Any]:
    """Times in milliseconds and the counts of speculation of one request."""
    metrics, later = output.metrics, max(1, len(output.token_ids) - 1)
    return {
        "time_to_first_token_ms": metrics.first_token_seconds * 1e3,
        "generation_time_ms": metrics.decode_seconds * 1e3,
        "queue_time_ms": metrics.queue_seconds * 1e3,
        "mean_itl_ms": metrics.decode_seconds * 1e3 / later,
        "tokens_per_second": metrics.tokens_per_second,
        "speculative_decoding": speculation(metrics, num_speculative_tokens),
    }


def speculation(metrics: RequestMetrics, num_speculative_tokens: int) -> dict[str, Any]:
    """VLLM's `metrics.speculative_decoding`. A step is a pass that verified drafts of this request."""
    verified, accepted = metrics.depth_verified, metrics.depth_accepted
    steps = verified[0] if verified else 0
    reached = [steps, *accepted[:num_speculative_tokens], 0]  # [d]: steps that accepted d drafts or more
    histogram = [more - most for more, most in pairwise(reached)]
    return {
        "mean_acceptance_length": 1 + metrics.accepted / steps if steps else 1.0,
        "draft_acceptance_rate": metrics.acceptance_rate,
        "acceptance_histogram": histogram,
        "num_spec_steps": steps,
        "num_accepted_draft_tokens": metrics.accepted,
        "num_draft_tokens": metrics.verified,
        "num_spec_tokens": num_speculative_tokens,
    }
