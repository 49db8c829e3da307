"""Commands under test start no workers."""

import pytest

from amusd.config import EngineConfig
from tests.cli.fakes import FakeLLM, FakeReader


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> list[FakeLLM]:
    """Every engine that a command makes, in order; the class's attributes say how they behave."""
    made: list[FakeLLM] = []

    class Recorded(FakeLLM):
        def __init__(self, config: EngineConfig) -> None:
            super().__init__(config)
            made.append(self)

    for command in ("generate", "batch"):
        monkeypatch.setattr(f"amusd.cli.{command}.LLM", Recorded)
        monkeypatch.setattr(f"amusd.cli.{command}.PromptReader", FakeReader)
    return made
