"""An engine that decodes nothing: it hands out prepared chunks, or fails on purpose."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Self

from amusd.config import EngineConfig
from amusd.coordinator.admission import check_request
from amusd.errors import InputError
from amusd.logprobs import Logprob
from amusd.outputs import Chunk, DrafterMetrics, RequestMetrics, RequestOutput
from amusd.params import SamplingParams
from amusd.wishes import Wishes

METRICS = RequestMetrics(
    tokens_per_second=85.25,
    queue_seconds=0.0,
    first_token_seconds=0.02,
    decode_seconds=0.04,
    acceptance_rate=0.714,
    mean_acceptance_length=2.5,
    passes=2,
    drafted=5,
    verified=4,
    accepted=3,
    rollbacks=1,
    corrections=2,
    foreseen_corrections=1,
    stale_nodes=3,
    dropped_nodes=4,
    overlap=0.625,
    useful_overlap=0.5,
    depth_verified=(2, 1),
    depth_accepted=(1, 1),
    rank_seen=(2, 2),
    rank_hits=(1, 0),
    drafters=(DrafterMetrics("draft 0", 9, 5, 3, 1), DrafterMetrics("ngram", 8, 4, 2, 0)),
)


class FakeReader:
    """Stands in for `amusd.prompts.PromptReader`: a token is a character, a text at most sixteen."""

    def __init__(self, config: EngineConfig) -> None:
        self.config = config

    def read(self, prompt: str) -> list[int]:
        return [ord(character) for character in prompt]

    def read_chat(self, message: str) -> list[int]:
        if self.config.target == "demo":
            raise InputError("chat", "demo", "the tokenizer has no chat template; leave --chat out")
        return self.read(f"<user>{message}")

    def check(self, tokens: list[int], params: SamplingParams) -> None:
        check_request(tokens, params, vocabulary_size=256, length_max=16, rule=self.config.rule)


class FakeLLM:
    """Stands in for `amusd.LLM`; what it was given and what happened to it can be read off."""

    failure: BaseException | None = None
    while_streaming: BaseException | None = None
    notes: tuple[str, ...] = ()
    text = "    return n"
    logprobs: list[dict[int, Logprob]] | None = None

    def __init__(self, config: EngineConfig) -> None:
        if self.failure is not None:
            raise self.failure
        self.config = config
        self.closed = False
        self.prompt: list[int] | None = None
        self.params: SamplingParams | None = None

    @classmethod
    def from_reader(cls, reader: "FakeReader", on_event: Callable[[str], None]) -> Self:
        llm = cls(reader.config)
        on_event("target: demo on cpu:0")
        return llm

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True

    def stream(self, prompt: list[int], params: SamplingParams) -> Iterator[Chunk]:
        self.prompt, self.params = prompt, params
        first, rest = self.text[:4], self.text[4:]
        yield Chunk(first, (7,), ("own",), ((first, "own"),))
        if self.while_streaming is not None:
            raise self.while_streaming
        output = RequestOutput(None, tuple(prompt), self.text, (7, 8, 9), "stop", 11, METRICS, self.notes)
        output = replace(output, logprobs=self.logprobs)
        yield Chunk(rest, (8, 9), ("accepted", "foreseen"), ((rest, "accepted"),), output)

    def generate_each(
        self, jobs: Iterable[tuple[list[int], SamplingParams, Wishes]]
    ) -> Iterator[RequestOutput]:
        for tokens, *_ in jobs:
            yield RequestOutput(None, tuple(tokens), self.text, (7, 8, 9), "stop", 11, METRICS, self.notes)

    def write_trace(self, path: str | Path) -> None:
        Path(path).write_text("[]", encoding="utf-8")
