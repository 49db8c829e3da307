"""The command line on a real engine."""

import json

from amusd import SamplingParams
from amusd.cli import main
from tests.engine.conftest import CORES

PROMPT = "def area(width, height):\n    return"
PIN = ("--target-devices", f"cpu:{CORES[0]}", "--draft-devices", f"cpu:{CORES[-1]}")


def generate(*arguments):
    return main(["generate", PROMPT, *arguments, "--launcher", "local"])


def test_json_holds_the_text_of_the_target_alone_and_the_trace_its_passes(alone, tmp_path, capsys):
    trace = tmp_path / "run.trace.json"
    assert generate(*PIN, "--json", "--seed", "4", "--max-tokens", "40", "--trace", str(trace)) == 0
    found = json.loads(capsys.readouterr().out)
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


def test_a_model_that_does_not_exist_is_one_line_and_code_2(capsys):
    assert generate("--target", "./no-such-model", "--mode", "alone") == 2
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.count("\n") == 1
    assert "./no-such-model" in errors
