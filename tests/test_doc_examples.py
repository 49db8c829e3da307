"""The examples of README.md and docs/ do what they say; those that need more are only parsed.

docs/serving.md has its own (tests/serving/test_docs.py). Whole engines are started, with their
workers on threads of this process, because a process takes seconds to import torch; README's first example
has processes.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from amusd.cli import main
from amusd.config import EngineConfig
from amusd.deployment import plan_deployment
from amusd.prompts import PromptReader
from amusd.workers.entry import run_worker

ROOT = Path(__file__).parent.parent
PAGES = {
    name: (ROOT / name).read_text(encoding="utf-8")
    for name in ("README.md", "docs/deploy.md", "docs/drafters.md", "docs/load.md", "docs/simulation.md")
}
FILES = ("notes.md", "report.md", "shakespeare.txt")
SHORT = {
    "generate": ("--max-tokens", "12", "--seed", "7"),
    "batch": ("--max-tokens", "12"),
    "simulate": ("--set", "output_tokens=40", "--repeats", "1"),
    "simulate --load": (
        *("--set", "load.ks=[3]", "--set", "load.batches=[2]", "--set", "load.tokens_min=20"),
        *("--set", "load.loads=[0.5]", "--set", "load.requests=4"),
    ),
}


def blocks(page, *languages):
    """What stands between the fences of a page."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", PAGES[page], re.MULTILINE | re.DOTALL)
    return [text for language, text in found if language in languages]


LINES = [
    line
    for page in PAGES
    for block in blocks(page, "", "bash")
    for line in block.replace("\\\n", " ").splitlines()
]
COMMANDS = sorted({found[1] for line in LINES if (found := re.search(r"(?:^|python -m )(amusd .*)", line))})
# Those in the middle of a `ray job submit` are a cluster's.
RUN = [line for line in COMMANDS if re.match(r"amusd (generate|batch .*--launcher local|simulate)", line)]
EXAMPLES = {
    f"{page} {index}": example for page in PAGES for index, example in enumerate(blocks(page, "python"))
}


class Threads:
    """A launcher whose workers are threads of this process."""

    elsewhere = False

    def __init__(self):
        self.processors = {}
        self.workers = {}

    def start(self, specs):
        for spec in specs:
            payload = spec.payload()
            if spec.role == "target":
                payload["options"]["processors"] = self.processors
            self.workers[spec.key] = run_worker(payload)

    def address(self, role, index):
        return self.workers[role, index].address

    def close(self):
        while self.workers:
            self.workers.popitem()[1].stop()  # drafts before their target


@pytest.fixture
def threads(monkeypatch):
    """Every engine has its workers here, whatever launcher it names."""
    monkeypatch.setattr("amusd.hosting.launcher_for", lambda config: Threads())


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where a reader stands, with the files that the pages name; docs/deploy.md makes one itself."""
    text = "def add(a, b):\n    return a + b\n\n\ndef add(a, b):\n"
    for name in FILES:
        (tmp_path / name).write_text(text, encoding="utf-8")
    [line] = [line for line in LINES if line.endswith("> prompts.jsonl")]
    subprocess.run(line, shell=True, cwd=tmp_path, check=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_pages_have_examples_of_every_kind():
    assert {line.split()[1] for line in RUN} == {"generate", "batch", "simulate"}
    assert {line.split()[1] for line in COMMANDS} == {
        *("batch", "bench", "chat", "coordinator", "doctor", "generate", "serve", "simulate", "worker")
    }
    assert len(RUN) >= 13
    assert [name.rpartition(" ")[0] for name in EXAMPLES] == [
        *["README.md"] * 4,
        "docs/deploy.md",
        "docs/drafters.md",
    ]


@pytest.mark.parametrize("command", RUN)
def test_a_command_does_what_its_line_says(command, folder, threads, capsys):
    if "--out" in command:
        pytest.importorskip("matplotlib")
    arguments = shlex.split(command, comments=True)[1:]
    kind = " ".join(part for part in arguments if part in ("--load", arguments[0]))
    assert main([*arguments, *SHORT[kind]]) == 0
    assert capsys.readouterr().out
    for name in re.findall(r"run\.trace\.json|results\.jsonl|(?<=--out )\w+", command):
        assert (folder / name).stat().st_size > 0


@pytest.mark.parametrize("command", [line for line in COMMANDS if line not in RUN])
def test_a_command_that_needs_more_is_one_that_amusd_takes(command, capsys):
    # With --help behind them the arguments are parsed, and nothing is started.
    assert main([*shlex.split(command, comments=True)[1:], "--help"]) == 0
    assert "Usage" in capsys.readouterr().out


def test_what_the_lines_name_in_the_repository_is_there():
    named = {name for line in LINES for name in re.findall(r"\b(?:scripts|cluster|benchmarks)/[^\s:]+", line)}
    assert len(named) >= 12
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_readme_s_first_example_prints_text_from_workers_in_processes(folder):
    done = subprocess.run(
        [sys.executable, "-c", EXAMPLES["README.md 0"]],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout) > 100


@pytest.mark.parametrize(
    "name", [name for name in EXAMPLES if name not in ("README.md 0", "docs/deploy.md 0")]
)
def test_an_example_in_python_stands_alone_and_prints(name, folder, threads, capsys):
    exec(compile(EXAMPLES[name], name, "exec"), {})
    assert capsys.readouterr().out


def test_the_example_for_other_machines_joins_the_workers_that_it_names(capsys):
    reader = PromptReader(EngineConfig(launcher="local"))
    deployment = plan_deployment(reader.config, len(reader.tokenizer))
    workers = [run_worker(spec.payload()) for spec in deployment.workers]
    try:
        example = EXAMPLES["docs/deploy.md 0"]
        for address, worker in zip(("10.0.0.1:9001", "10.0.0.2:9002"), workers, strict=True):
            assert address in example
            example = example.replace(address, worker.address)
        exec(compile(example, "docs/deploy.md", "exec"), {})
    finally:
        for worker in reversed(workers):
            worker.stop()
    assert capsys.readouterr().out
