"""`amusd doctor` goes on after a failure and says so at the end."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from amusd.cli import doctor, main
from amusd.errors import InputError, WorkerError

INFO = {
    "target": {
        "device": "cpu:0",
        "round_trip_seconds": 0.00019012,
        "sizes": {"layers": 8},
        "self_check": ["[1, 4] and [4, 8] agree bit for bit"],
        "end_tokens": [0, 3],
        "pass_ms": {"1 x 1 rows": 26.42, "16 x 8 rows": 301.4},
    },
    "draft 0": {"device": "cpu:1"},
}


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What the parts of the doctor's examination answer; a test may replace each."""
    answers = SimpleNamespace(
        reader=lambda config: SimpleNamespace(tokenizer=[0] * 2048, config=config),
        info=lambda: INFO,
        opened=[],
    )

    class FakeLLM:
        @classmethod
        def from_reader(cls, reader: SimpleNamespace) -> "FakeLLM":
            answers.opened.append(reader.config)
            return cls()

        def info(self) -> Any:
            return answers.info()

        def __enter__(self) -> "FakeLLM":
            return self

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr("amusd.cli.doctor.PromptReader", lambda config: answers.reader(config))
    monkeypatch.setattr("amusd.cli.doctor.LLM", FakeLLM)
    return answers


def raising(error: Exception) -> Any:
    def fail(*_: object) -> Iterator[None]:
        raise error

    return fail


def test_healthy_machine(engine: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "  demo and demo give the same text to each of 2048 tokens" in lines
    assert "    round trip seconds: 0.00019" in lines
    assert "      [1, 4] and [4, 8] agree bit for bit" in lines
    assert "    pass ms" in lines
    assert "      16 x 8 rows: 301" in lines
    assert lines[-1] == "all is well"


def test_every_section_is_tried_and_failures_are_counted(
    engine: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.info = raising(WorkerError("the draft worker died while loading"))
    assert main(["doctor"]) == 1
    output = capsys.readouterr().out
    assert "the draft worker died while loading" in output
    assert output.endswith("1 of 4 sections failed\n")
    engine.reader = raising(InputError("draft", "gpt2", "50257 tokens, the target has 2048"))
    assert main(["doctor", "--draft", "gpt2"]) == 1
    output = capsys.readouterr().out
    assert "draft: gpt2: 50257 tokens, the target has 2048" in output
    assert output.endswith("2 of 4 sections failed\n")


def test_nested_values_become_indented_lines() -> None:
    values = {"a_b": 1, "c": {"d": 0.12345, "e": [1, 2]}, "f": ["x", {"g": None}]}
    assert list(doctor.describe(values)) == [
        (0, "a b: 1"),
        (0, "c"),
        (1, "d: 0.123"),
        (1, "e: [1, 2]"),
        (0, "f"),
        (1, "x"),
        (1, "g: None"),
    ]


def test_the_drafts_device_is_checked_with_the_draft_as_a_target_there(
    engine: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--draft", "demo-small", "--dtype", "float32"]) == 0
    pair, draft = engine.opened
    assert (pair.target, pair.draft) == ("demo", "demo-small")
    assert draft.target.endswith("draft-small") and draft.draft == "random"
    assert (draft.target_devices, draft.draft_devices, draft.dtype) == ("cpu:1", "cpu:0", "float32")
    output = capsys.readouterr().out
    assert output.count("[1, 4] and [4, 8] agree bit for bit") == 2


def test_without_a_draft_model_one_device_is_checked(engine: SimpleNamespace) -> None:
    assert main(["doctor", "--draft", "none"]) == 0
    assert main(["doctor", "--draft", "random"]) == 0
    assert [config.draft for config in engine.opened] == [None, "random"]
