"""The commands of docs/deploy.md and README.md are ones that the programs take."""

import os
import re
import shlex
import subprocess

import pytest

from amusd.cli import main
from tests.cluster.conftest import ROOT

PAGES = "".join((ROOT / page).read_text(encoding="utf-8") for page in ("docs/deploy.md", "README.md"))
COMMANDS = sorted(
    set(re.findall(r"^(?:.* python -m )?(amusd (?:batch|worker|coordinator) [^#\n]*)", PAGES, re.MULTILINE))
)


def test_the_pages_show_every_command():
    assert {command.split()[1] for command in COMMANDS} == {"batch", "worker", "coordinator"}
    assert len(COMMANDS) >= 6


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_pages_is_one_that_amusd_takes(command, capsys):
    # With --help behind them the arguments are parsed, and nothing is started.
    assert main([*shlex.split(command)[1:], "--help"]) == 0
    assert "Usage" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("environment", "places"),
    [
        ({}, ""),
        ({"TARGET": "1,0", "DRAFT": "3"}, "--target-devices cuda:1,cuda:0 --draft-devices cuda:3 "),
        ({"DRAFT": "cpu:1"}, "--draft-devices cpu:1 "),
    ],
)
def test_the_launch_script_hands_devices_on(environment, places):
    where = {**os.environ, "PYTHON": "echo", **environment}
    command = ["bash", str(ROOT / "scripts/launch_multi_gpu.sh"), "--port", "0"]
    done = subprocess.run(command, env=where, capture_output=True, text=True, check=True)
    assert done.stdout == f"-m amusd serve --launcher local {places}--port 0\n"
