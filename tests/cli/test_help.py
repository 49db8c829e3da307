"""Help teaches, comes at once, and tells the truth about defaults."""

import re
import resource
import subprocess
import sys

import pytest

from amusd import __version__
from amusd.cli import main
from amusd.config import RULES_WITH_Q, EngineConfig
from amusd.params import SamplingParams

HELP_SECONDS_MAX = 0.5


def help_of(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *command: str) -> str:
    monkeypatch.setenv("COLUMNS", "200")
    assert main([*command, "--help"]) == 0
    return capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"amusd {__version__}\n"


def test_no_command_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    output = capsys.readouterr().out
    assert "generate" in output
    assert "doctor" in output


def test_generate_help_has_examples(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "amusd generate 'def fibonacci(n):' --temperature 0" in help_of(capsys, monkeypatch, "generate")


def test_help_says_which_rules_are_exact_only_in_distribution(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = " ".join(re.findall(r"[^\s\u2502]+", help_of(capsys, monkeypatch, "generate")))
    bytes_exact, _, rest = shown.partition("exact in bytes")
    assert all(rule in bytes_exact for rule in ("race", "topk"))
    lawful, _, _ = rest.partition("exact only in distribution")
    assert all(rule in lawful for rule in RULES_WITH_Q)


def test_defaults_in_the_help_are_the_real_ones(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = dict(re.findall(r"--([a-z-]+) .*\(default: ([^)]*)\)", help_of(capsys, monkeypatch, "generate")))
    fields = EngineConfig.model_fields | SamplingParams.model_fields
    assert set(shown) >= {
        "target",
        "draft",
        "mode",
        "launcher",
        "temperature",
        "top-k",
        "num-speculative-tokens",
    }
    for option, text in shown.items():
        if option not in ("max-tokens", "max-model-len", "kv-cache-memory-bytes"):
            assert text == str(fields[option.replace("-", "_")].default), option
    assert shown["max-tokens"] == "256"


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys; from amusd.cli import main; main(['generate', '--help'])\n"
        "print(sorted({'torch', 'ray', 'grpc', 'transformers', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_help_comes_at_once() -> None:
    def cpu_seconds() -> float:
        """Processor time, which other processes hardly change, unlike the time on the wall."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "amusd", "--help"], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(cpu_seconds() for _ in range(3)) < HELP_SECONDS_MAX
