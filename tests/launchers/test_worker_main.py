import json
import signal
import subprocess
import sys

import pytest

from amusd.devices import usable_cores
from amusd.launchers.base import WorkerSpec
from amusd.launchers.report import Ready, parse_report
from amusd.launchers.worker_main import main


def run_by_hand(spec: WorkerSpec, **more) -> subprocess.Popen:
    command = [sys.executable, "-m", "amusd.launchers.worker_main", spec.role]
    return subprocess.Popen(
        [*command, "--spec", json.dumps(spec.payload() | more)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_worker_started_by_hand_reports_to_stdout_and_ends_on_a_signal(spec, ask, stop):
    with run_by_hand(spec("draft")) as worker:
        report = parse_report(worker.stdout.readline())
        assert isinstance(report, Ready)
        assert ask(report.address)["pid"] == report.pid == worker.pid
        worker.send_signal(stop)
        assert worker.wait(timeout=20) == 0


def test_a_worker_without_io_cores_keeps_off_those_of_the_target(spec, ask):
    first, *others = usable_cores()
    with run_by_hand(spec("draft"), io_cores=[], avoided_cores=[first]) as worker:
        facts = ask(parse_report(worker.stdout.readline()).address)
        worker.terminate()
    assert facts["cores"] == others


@pytest.mark.parametrize("debug", [False, True])
def test_a_worker_started_by_hand_that_cannot_load_says_so_and_exits_with_1(spec, debug):
    with run_by_hand(spec("draft", fail="model", debug=debug)) as worker:
        output, errors = worker.communicate(timeout=20)
        assert worker.returncode == 1
        assert output.startswith('AMUSD_FAILED {"kind": "ModelError", "message": "no model called nothing')
        assert ("Traceback" in errors) == debug


def test_a_defect_of_a_worker_shows_where_it_is(spec):
    with run_by_hand(spec("draft", fail="bug")) as worker:
        _, errors = worker.communicate(timeout=20)
        assert "Traceback" in errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["oracle", "--spec", "{}"], "invalid choice: 'oracle'"),
        (["target", "--spec", "{"], "not JSON"),
        (["target", "--spec", "[]"], 'an object with at least a "device" is needed'),
        (["target"], "required: --spec"),
    ],
)
def test_wrong_arguments_are_named(capsys, arguments, message):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert message in capsys.readouterr().err
