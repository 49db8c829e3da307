"""The command line on a real engine."""

import json
import subprocess
import sys

from amusd import SamplingParams
from tests.engine.conftest import CORES

PROMPT = "def area(width, height):\n    return"
PIN = ("--target-devices", f"cpu:{CORES[0]}", "--draft-devices", f"cpu:{CORES[-1]}")


def amusd(*arguments):
    command = [sys.executable, "-m", "amusd", "generate", *arguments, "--launcher", "local"]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


def test_json_holds_the_text_of_the_target_alone_and_the_trace_its_passes(alone, tmp_path):
    trace = tmp_path / "run.trace.json"
    done = amusd(PROMPT, *PIN, "--json", "--seed", "4", "--max-tokens", "40", "--trace", str(trace))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    [wanted] = alone.generate(PROMPT, SamplingParams(seed=4, max_tokens=40))
    assert found["text"] == wanted.text
    assert found["token_ids"] == list(wanted.token_ids)
    assert found["finish_reason"] == wanted.finish_reason
    assert found["seed"] == 4
    events = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    passes = [event for event in events if event["ph"] == "X" and event["name"] == "pass"]
    drafts = [event for event in events if event["ph"] == "X" and event["name"] == "draft"]
    assert len(passes) == found["metrics"]["passes"]
    assert {event["pid"] for event in passes} != {event["pid"] for event in drafts}
    ends = {event["id"] for event in events if event["ph"] == "f"}
    assert ends
    assert ends == {event["id"] for event in events if event["ph"] == "s"}


def test_a_model_that_does_not_exist_is_one_line_and_code_2():
    done = amusd(PROMPT, "--target", "./no-such-model", "--mode", "alone")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "./no-such-model" in done.stderr
