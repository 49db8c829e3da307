"""Chunks and outputs in the form of OpenAI's answers."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from amusd.outputs import RequestMetrics, RequestOutput


@dataclass(frozen=True, slots=True)
class CompletionAnswers:
    """Answers of `/v1/completions`.

    Args:
        identity: of the request.
        model: as clients call it.
        echoed: what each answer begins with.
    """

    identity: str
    model: str
    num_speculative_tokens: int
    echoed: tuple[str, ...] = ()
    created: int = field(default_factory=lambda: int(time.time()))

    def first(self) -> list[dict[str, Any]]:
        """What a stream begins with."""
        return [self._chunk([self._choice(i, text, None)]) for i, text in enumerate(self.echoed) if text]

    def piece(self, index: int, text: str, reason: str | None) -> dict[str, Any]:
        """One piece of a stream."""
        return self._chunk([self._choice(index, text, reason)])

    def last(self, outputs: Sequence[RequestOutput]) -> dict[str, Any]:
        """What a stream ends with where usage is wanted."""
        return self._chunk([]) | self._usage(outputs)

    def whole(self, outputs: Sequence[RequestOutput]) -> dict[str, Any]:
        """The answer in one."""
        begun = self.echoed or ("",) * len(outputs)
        choices = [
            self._choice(index, begun[index] + output.text, output.finish_reason)
            for index, output in enumerate(outputs)
        ]
        return self._chunk(choices) | self._usage(outputs)

    def _choice(self, index: int, text: str, reason: str | None) -> dict[str, Any]:
        return {"index": index, "text": text, "logprobs": None, "finish_reason": reason}

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": f"cmpl-{self.identity}",
            "object": "text_completion",
            "created": self.created,
            "model": self.model,
            "choices": choices,
        }

    def _usage(self, outputs: Sequence[RequestOutput]) -> dict[str, Any]:
        return usage(outputs, self.num_speculative_tokens)


@dataclass(frozen=True, slots=True)
class ChatAnswers:
    """Answers of `/v1/chat/completions`; arguments as those of `CompletionAnswers`."""

    identity: str
    model: str
    num_speculative_tokens: int
    created: int = field(default_factory=lambda: int(time.time()))

    def first(self) -> list[dict[str, Any]]:
        """What a stream begins with."""
        return [self._chunk([self._delta({"role": "assistant", "content": ""}, None)])]

    def piece(self, index: int, text: str, reason: str | None) -> dict[str, Any]:
        """One piece of a stream."""
        return self._chunk([self._delta({"content": text} if text else {}, reason)])

    def last(self, outputs: Sequence[RequestOutput]) -> dict[str, Any]:
        """What a stream ends with where usage is wanted."""
        return self._chunk([]) | usage(outputs, self.num_speculative_tokens)

    def whole(self, outputs: Sequence[RequestOutput]) -> dict[str, Any]:
        """The answer in one."""
        [output] = outputs
        message = {"role": "assistant", "content": output.text, "refusal": None}
        choice = {
            "index": 0,
            "message": message,
            "logprobs": None,
            "finish_reason": output.finish_reason,
        }
        answer = self._chunk([choice]) | {"object": "chat.completion"}
        return answer | usage(outputs, self.num_speculative_tokens)

    def _delta(self, delta: dict[str, Any], reason: str | None) -> dict[str, Any]:
        return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{self.identity}",
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": choices,
        }


Answers = CompletionAnswers | ChatAnswers


def usage(outputs: Sequence[RequestOutput], num_speculative_tokens: int) -> dict[str, Any]:
    """Token counts, and how a single request went, in the form of vLLM's per-request metrics."""
    prompt = sum(len(output.prompt_token_ids) for output in outputs)
    completion = sum(len(output.token_ids) for output in outputs)
    counts = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
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
