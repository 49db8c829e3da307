"""Files in, files out: what is refused before anything starts, and what an interrupted run leaves."""

import json
import signal
import subprocess
import sys
import time

import pytest

from amusd import SamplingParams
from amusd.cli import main
from amusd.cli.batch_input import read_lines
from amusd.cli.batch_output import BatchOutput
from amusd.config import IN_DISTRIBUTION, EngineConfig
from amusd.errors import InputError
from amusd.outputs import RequestOutput
from amusd.wishes import Wishes
from tests.cli.fakes import METRICS, FakeReader

PARAMS = SamplingParams(max_tokens=4, seed=3)


def read(path, *lines, params=PARAMS):
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return read_lines(path, FakeReader(EngineConfig(launcher="local")), params)


def result(line, text="x"):
    return RequestOutput(None, line.tokens, text, (7,), "stop", 3, METRICS)


def test_a_line_s_own_parameters_win_and_empty_lines_are_passed_over(tmp_path):
    lines = read(
        tmp_path / "in", '{"prompt": "ab"}', "", '{"id": 5, "prompt": "c", "params": {"max_tokens": 2}}'
    )
    assert [line.number for line in lines] == [1, 3]
    assert [line.tokens for line in lines] == [(97, 98), (99,)]
    assert [line.id for line in lines] == [None, 5]
    assert [(line.params.max_tokens, line.params.seed) for line in lines] == [(4, 3), (2, 3)]


def test_a_line_may_have_wishes_which_do_not_make_it_another(tmp_path):
    plain, wishing = read(tmp_path / "in", '{"prompt": "ab"}', '{"prompt": "ab", "priority": -1}')
    assert (plain.wishes, wishing.wishes) == (Wishes(), Wishes(priority=-1))
    assert plain.digest == wishing.digest


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r":2: line: \{: is not JSON in UTF-8"),
        ("[]", r":2: line: \[\]: give an object such as"),
        ('{"promt": "a"}', ":2: promt: a: there is no such key; choose from id, prompt"),
        ('{"id": 1}', ":2: prompt: .*give either prompt or messages"),
        ('{"prompt": "a", "messages": []}', ":2: prompt: a: give either prompt or messages"),
        ('{"messages": ["a"]}', ":2: messages: .*give a list of objects"),
        ('{"prompt": "a", "id": true}', ":2: id: True: give text or a whole number"),
        ('{"prompt": "a", "params": 3}', ":2: params: 3: give an object"),
        ('{"prompt": "a", "params": {"top_k": 0.5}}', ":2: top_k: 0.5: "),
        ('{"prompt": "0123456789abcdefg"}', ":2: prompt: 17 tokens: "),
        ('{"prompt": "a", "priority": "high"}', ":2: priority: high: give a whole number"),
    ],
)
def test_a_bad_line_is_named_by_its_number(tmp_path, line, message):
    with pytest.raises(InputError, match=message):
        read(tmp_path / "in", '{"prompt": "a"}', line)


def test_results_that_are_there_are_kept_and_half_a_line_is_cut_off(tmp_path):
    lines = read(tmp_path / "in", '{"prompt": "a"}', '{"prompt": "b"}', '{"prompt": "c"}')
    path = tmp_path / "out"
    with BatchOutput(path, lines) as output:
        output.write(lines[0], result(lines[0], "first"))
        output.write(lines[1], result(lines[1]))
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    with BatchOutput(path, lines) as output:
        assert output.done == 1
        output.write(lines[1], result(lines[1]))
    assert path.read_bytes() == whole
    first = json.loads(whole.splitlines()[0])
    assert (first["line"], first["text"], first["finish_reason"]) == (1, "first", "stop")


@pytest.mark.parametrize("change", ['{"prompt": "z"}', '{"prompt": "a", "params": {"seed": 4}}', ""])
def test_results_of_other_lines_or_settings_are_never_taken_for_these(tmp_path, change):
    path = tmp_path / "out"
    [line] = read(tmp_path / "in", '{"prompt": "a"}')
    with BatchOutput(path, [line]) as output:
        output.write(line, result(line))
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"out:1: is no result of this input with these settings"):
        BatchOutput(path, read(tmp_path / "in", change))
    assert path.read_bytes() == before


def test_two_runs_never_write_one_file(tmp_path):
    with BatchOutput(tmp_path / "out", []), pytest.raises(InputError, match="another run writes it"):
        BatchOutput(tmp_path / "out", [])


@pytest.mark.parametrize(
    ("options", "rule", "exact"),
    [
        ([], "race", "bytes"),
        (["--rule", "spechub"], "spechub", "distribution"),
        (["--rule", "spechub", "--mode", "alone"], None, "bytes"),
    ],
)
def test_the_report_says_what_the_rule_keeps_of_the_target_alone(
    engines, tmp_path, capsys, options, rule, exact
):
    (tmp_path / "in").write_text('{"prompt": "ab"}\n', encoding="utf-8")
    command = ["batch", str(tmp_path / "in"), str(tmp_path / "out"), *options]
    assert main([*command, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["rule"], report["exact"], report["decoded"]) == (rule, exact, 1)
    assert main(command) == 0
    printed = " ".join(capsys.readouterr().out.split())
    wanted = IN_DISTRIBUTION if exact == "distribution" else exact
    assert f"rule {rule or '-'} exact {wanted} prompt tokens" in printed


@pytest.mark.timeout(300)
def test_a_run_that_was_terminated_is_finished_by_the_next_with_the_same_bytes(tmp_path, capsys):
    source = tmp_path / "in"
    prompts = [{"id": name, "prompt": f"def {name}(x):"} for name in "abcdefghijkl"]
    source.write_text("".join(json.dumps(prompt) + "\n" for prompt in prompts), encoding="utf-8")

    def command(destination, *engine):
        options = ("--seed", "1", "--max-tokens", "40", "--max-requests", "2")
        return ["batch", str(source), str(destination), *options, *engine]

    def told(path):
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return [(line["id"], line["text"], line["token_ids"]) for line in lines]

    here = ("--mode", "alone", "--launcher", "inprocess")
    drafted = command(tmp_path / "out", "--launcher", "local")
    first = subprocess.Popen([sys.executable, "-m", "amusd", *drafted])
    while not ((tmp_path / "out").exists() and (tmp_path / "out").read_bytes().count(b"\n") >= 2):
        assert first.poll() is None
        time.sleep(0.01)
    first.send_signal(signal.SIGTERM)
    assert first.wait(timeout=30) == 143
    half = told(tmp_path / "out")
    assert len(half) < len(prompts)
    assert main(command(tmp_path / "out", *here)) == 0
    assert f"resumed                 {len(half)}" in capsys.readouterr().out
    assert main(command(tmp_path / "whole", *here)) == 0
    assert [name for name, *_ in told(tmp_path / "out")] == list("abcdefghijkl")
    assert told(tmp_path / "out")[: len(half)] == half
    assert told(tmp_path / "out") == told(tmp_path / "whole")
