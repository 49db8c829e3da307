import os
import re
import signal
import socket
import sys
import threading

import psutil
import pytest

from amusd.devices import DeviceSpec, usable_cores
from amusd.errors import DeviceError, InputError, ModelError, WorkerError
from amusd.launchers.base import WorkerSpec
from amusd.launchers.local import LocalLauncher


@pytest.fixture
def launcher():
    """A launcher that must leave this process without children."""
    launcher = LocalLauncher()
    yield launcher
    launcher.close()
    assert psutil.Process().children(recursive=True) == []


def test_workers_serve_and_their_processes_are_the_ones_reported(launcher, spec, ask):
    launcher.start([spec("target", colour="red"), spec("draft")])
    target, draft = (ask(launcher.address(role, 0)) for role in ("target", "draft"))
    assert (target["pid"], draft["pid"]) == (launcher.pid("target", 0), launcher.pid("draft", 0))
    assert target["spec"]["role"] == "target"
    assert target["spec"]["options"]["colour"] == "red"


def test_a_worker_is_pinned_to_the_io_cores_before_torch_is_imported(launcher, spec, ask):
    launcher.start([spec("target")])
    facts = ask(launcher.address("target", 0))
    assert facts["cores"] == [usable_cores()[-1]]
    assert facts["omp_num_threads"] == "1"
    assert facts["cuda_visible_devices"] == ""
    assert not facts["torch_imported"]


def test_the_callers_thread_keeps_its_cores(launcher, spec):
    before = usable_cores()
    launcher.start([spec()])
    assert usable_cores() == before


def test_a_killed_worker_is_restarted_and_found_again(launcher, spec, ask, eventually):
    launcher.start([spec("target"), spec("draft")])
    pid, target_pid = launcher.pid("draft", 0), launcher.pid("target", 0)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: launcher.pid("draft", 0) not in (None, pid))
    assert ask(launcher.address("draft", 0))["pid"] == launcher.pid("draft", 0)
    assert launcher.pid("target", 0) == target_pid


def test_a_restart_that_fails_is_tried_again_later(launcher, spec, ask, eventually, tmp_path):
    marker = tmp_path / "started"
    launcher.start([spec(fail="once-started", marker=str(marker))])
    pid = launcher.pid("target", 0)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: launcher.pid("target", 0) is None)
    marker.unlink()
    eventually(lambda: launcher.pid("target", 0) is not None)
    assert ask(launcher.address("target", 0))["pid"] != pid


@pytest.mark.parametrize(
    ("fail", "kind", "message"),
    [
        ("model", ModelError, r"no model called nothing; name a folder or a hub id"),
        ("input", InputError, r"dtype: int3: give bfloat16 or float32"),
        (
            "bug",
            WorkerError,
            r"target worker 0 \(cpu:\d+\) could not start: RuntimeError: the stub has a bug",
        ),
        (
            "exit",
            WorkerError,
            r"target worker 0 \(cpu:\d+\) died \(exit code 7\): out of cheese; try again with debug on .*",
        ),
    ],
)
def test_a_worker_that_fails_to_load_fails_the_start_in_its_own_words(launcher, spec, fail, kind, message):
    with pytest.raises(kind) as caught:
        launcher.start([spec("target", fail=fail), spec("draft")])
    assert re.fullmatch(message, str(caught.value))
    assert psutil.Process().children(recursive=True) == []


def test_a_core_that_does_not_exist_is_named(launcher, spec):
    message = rf"^target_devices: cpu:4095: on {socket.gethostname()}: not all of these cores exist here"
    with pytest.raises(DeviceError, match=message):
        launcher.start([WorkerSpec("target", 0, DeviceSpec("cpu", (4095,)), ())])


def test_a_worker_killed_while_loading_fails_the_start(launcher, spec, eventually):
    def kill():
        worker = eventually(lambda: psutil.Process().children())[0]
        worker.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(WorkerError, match="SIGKILL, perhaps out of memory"):
        launcher.start([spec(fail="hang")])
    killer.join()


def test_a_process_that_cannot_be_started_fails_the_start(launcher, spec, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(WorkerError, match=r"could not be started: .*No such file"):
        launcher.start([spec()])


def test_a_load_that_takes_too_long_is_given_up(spec):
    launcher = LocalLauncher(start_seconds_max=0.3)
    with pytest.raises(WorkerError, match=r"^target worker 0 did not start within 0\.3 seconds$"):
        launcher.start([spec(fail="hang")])
    assert psutil.Process().children(recursive=True) == []


def test_close_ends_a_stopped_worker_and_may_be_called_again(launcher, spec):
    launcher.start([spec("target"), spec("draft")])
    pid = launcher.pid("draft", 0)
    os.kill(pid, signal.SIGSTOP)
    launcher.close()
    assert not psutil.pid_exists(pid)
    launcher.close()


def test_a_launcher_that_never_started_closes():
    LocalLauncher().close()


def test_a_launcher_is_not_started_twice(launcher, spec):
    launcher.start([spec()])
    with pytest.raises(WorkerError, match="create another one"):
        launcher.start([spec()])


def test_workers_outlive_the_thread_that_started_the_launcher(launcher, spec, ask):
    thread = threading.Thread(target=launcher.start, args=([spec()],))
    thread.start()
    thread.join()
    assert ask(launcher.address("target", 0))["pid"] == launcher.pid("target", 0)


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_a_driver_that_is_killed(driver, eventually, stop):
    script = driver("local", "wait")
    assert set(script.pids().values()) == {process.pid for process in script.descendants()}
    script.process.send_signal(stop)
    script.process.wait(timeout=20)
    eventually(lambda: not script.descendants())


def test_a_stopped_worker_dies_with_a_killed_driver(driver, eventually):
    script = driver("local", "wait")
    os.kill(script.pids()["target"], signal.SIGSTOP)
    script.process.kill()
    script.process.wait()
    eventually(lambda: not script.descendants())


def test_nothing_outlives_ctrl_c_while_loading(driver, eventually):
    script = driver("local", "wait", "hang")
    eventually(lambda: len(script.descendants()) == 2)
    os.killpg(script.process.pid, signal.SIGINT)
    script.process.wait(timeout=20)
    assert script.descendants() == []


def test_nothing_outlives_a_script_that_never_closes(driver):
    script = driver("local", "return")
    script.pids()
    assert script.process.wait(timeout=20) == 0
    assert script.descendants() == []
