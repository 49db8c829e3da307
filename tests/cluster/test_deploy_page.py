"""The script of docs/deploy.md hands on what it is told."""

import os
import subprocess

import pytest

from tests.cluster.conftest import ROOT


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
