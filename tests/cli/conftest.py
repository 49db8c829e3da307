"""Commands under test start no workers."""

from typing import Any

import pytest

from tests.cli.fakes import FakeLLM


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> list[FakeLLM]:
    """Every engine that a command makes, in order; the class's attributes say how they behave."""
    made: list[FakeLLM] = []

    class Recorded(FakeLLM):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            made.append(self)

    monkeypatch.setattr("amusd.cli.generate.LLM", Recorded)
    return made
