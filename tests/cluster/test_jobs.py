"""Jobs on a real cluster: the repository travels, the job joins the cluster, its exit code comes back."""

import json
import subprocess
import sys

import pytest

from amusd import LLM, SamplingParams
from tests.cluster.conftest import CORES, ROOT

pytestmark = pytest.mark.timeout(600)
PROMPTS = ["def add(a, b):", "class Queue:", "import os\n"]
PIN = ("--target-devices", f"cpu:{CORES[0]}", "--draft-devices", f"cpu:{CORES[-1]}")


@pytest.fixture(scope="module")
def dashboard(cluster):
    """The address that takes jobs."""
    return f"http://{cluster.webui_url}"


def submit(dashboard, *command):
    script = [sys.executable, str(ROOT / "scripts" / "submit_job.py"), "--address", dashboard, "--"]
    return subprocess.run([*script, *command], capture_output=True, text=True, timeout=240, check=False)


def test_a_job_decodes_a_file_into_the_bytes_of_the_target_alone(dashboard, tmp_path):
    source, destination = tmp_path / "prompts.jsonl", tmp_path / "results.jsonl"
    source.write_text("".join(json.dumps({"prompt": it}) + "\n" for it in PROMPTS), encoding="utf-8")
    options = (*PIN, "--max-tokens", "16", "--seed", "3", "--json")
    done = submit(dashboard, "python", "cluster/jobs/batch.py", str(source), str(destination), *options)
    assert done.returncode == 0, done.stdout + done.stderr
    results = [json.loads(line) for line in destination.read_text(encoding="utf-8").splitlines()]
    with LLM(target="demo", mode="alone", launcher="inprocess", target_devices=f"cpu:{CORES[0]}") as alone:
        wanted = alone.generate(PROMPTS, SamplingParams(max_tokens=16, seed=3))
    assert [result["token_ids"] for result in results] == [list(output.token_ids) for output in wanted]
    report = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
    assert report["decoded"] == 3
    assert report["acceptance_rate"] > 0


def test_a_job_refuses_to_leave_its_results_where_they_vanish(dashboard):
    done = submit(dashboard, "python", "cluster/jobs/batch.py", "README.md", "results.jsonl")
    assert done.returncode == 1
    assert "output: results.jsonl: " in done.stdout + done.stderr


def test_an_address_without_ray_is_one_line_and_code_2():
    done = submit("http://127.0.0.1:9", "true")
    assert done.returncode == 2
    assert "submit_job: no Ray answers at http://127.0.0.1:9" in done.stderr
