"""One small cluster for the whole file: a start takes seconds."""

import os
import re
import signal
import socket
from dataclasses import replace

import psutil
import pytest
import ray

import amusd.launchers.ray as launchers_ray
import amusd.launchers.ray_cluster as launchers_ray_cluster
from amusd.devices import DeviceSpec, Inventory, usable_cores
from amusd.errors import DeviceError, InputError, ModelError, WorkerError
from amusd.launchers.ray import RayLauncher

pytestmark = pytest.mark.timeout(180)
GPU = DeviceSpec("cuda", (1,))


@pytest.fixture(scope="module")
def launcher(spec):
    """Two workers on cores and one on the second of two GPUs that only Ray's accounts know of."""
    launcher = RayLauncher()
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        for module in (launchers_ray, launchers_ray_cluster):
            patch.setattr(module, "available", lambda: Inventory(usable_cores(), gpus=2))
        launcher.start([spec("target"), spec("draft"), replace(spec("draft"), index=1, device=GPU)])
        yield launcher
        launcher.close()


def test_actors_serve_pinned_in_processes_without_torch(launcher, ask):
    for role in ("target", "draft"):
        facts = ask(launcher.address(role, 0))
        assert facts["pid"] == launcher.pid(role, 0)
        assert facts["cores"] == [usable_cores()[-1]]
        assert facts["omp_num_threads"] == "1"
        assert not facts["torch_imported"]


def test_in_our_own_cluster_a_gpu_is_the_one_that_was_named(launcher, ask):
    facts = ask(launcher.address("draft", 1))
    assert facts["spec"]["device"] == "cuda:1"
    assert facts["cuda_visible_devices"] == "0,1"


def test_in_a_cluster_of_others_ray_chooses_the_gpus(launcher, spec, ask):
    second = RayLauncher()
    second.start([replace(spec("draft"), device=GPU)])
    facts = ask(second.address("draft", 0))
    second.close()
    assert facts["spec"]["device"] == "cuda:0"
    assert facts["cuda_visible_devices"] in ("0", "1")


def test_rays_daemons_keep_off_the_targets_core(launcher):
    daemons = [it for it in psutil.Process().children() if it.name() in ("raylet", "gcs_server")]
    assert len(daemons) == 2
    assert [it.cpu_affinity() for it in daemons] == [[usable_cores()[-1]]] * 2


def test_a_killed_actor_is_restarted_and_found_again(launcher, ask, eventually):
    pid, target_pid = launcher.pid("draft", 0), launcher.pid("target", 0)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: launcher.pid("draft", 0) not in (None, pid))
    assert ask(launcher.address("draft", 0))["pid"] == launcher.pid("draft", 0)
    assert launcher.pid("target", 0) == target_pid


def test_a_second_launcher_shares_the_cluster_and_leaves_it(launcher, spec, ask, eventually):
    second = RayLauncher()
    second.start([spec("draft")])
    pid = second.pid("draft", 0)
    assert ask(second.address("draft", 0))["omp_num_threads"] == "1"
    second.close()
    eventually(lambda: not psutil.pid_exists(pid))
    assert ask(launcher.address("target", 0))["pid"] == launcher.pid("target", 0)


def test_in_a_cluster_of_others_the_node_says_that_it_has_no_such_core(launcher, spec):
    address = ray.nodes()[0]["NodeManagerAddress"]
    where = re.escape(f"on {socket.gethostname()} ({address})")
    second = RayLauncher()
    assert second.elsewhere
    message = rf"^target_devices: cpu:4095: {where}: not all of these cores exist here; choose from cpu:0"
    with pytest.raises(DeviceError, match=message):
        second.start([replace(spec("target"), device=DeviceSpec("cpu", (4095,)))])


def test_in_a_cluster_of_others_two_models_on_one_core_of_a_node_are_refused(launcher, spec):
    core = spec("target").device
    with pytest.raises(
        DeviceError, match=rf"^draft_devices: {core}: .*{core} is already given to target_devices"
    ):
        RayLauncher().start([spec("target"), replace(spec("draft"), device=core)])


def test_each_worker_learns_which_cores_the_target_has_on_its_node(spec):
    target, draft = (replace(spec(role), device=DeviceSpec("cpu", (3,))) for role in ("target", "draft"))
    assert launchers_ray.check_cores([target, draft], ["a", "b"]) == [(3,), ()]
    other = replace(draft, device=DeviceSpec("cpu", (4,)))
    assert launchers_ray.check_cores([target, other], ["a", "a"]) == [(3,), (3,)]


def test_more_gpus_than_a_cluster_has_are_refused_at_once(launcher, spec):
    many = replace(spec("draft"), device=DeviceSpec("cuda", (0, 1, 2)))
    with pytest.raises(
        DeviceError, match=r"^draft_devices: cuda:0,cuda:1,cuda:2: the Ray cluster has 2 GPUs"
    ):
        RayLauncher().start([spec("target"), many])


def test_our_own_cluster_is_on_this_machine_and_a_named_one_may_not_be(monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    assert not RayLauncher().elsewhere
    assert RayLauncher(address="10.0.0.1:6379").elsewhere
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    assert RayLauncher().elsewhere


@pytest.mark.parametrize(
    ("fail", "kind", "message"),
    [
        ("model", ModelError, "no model called nothing"),
        ("exit", WorkerError, r"draft worker 0 \(cpu:\d+\) died"),
    ],
)
def test_an_actor_that_fails_to_load_fails_the_start(launcher, spec, fail, kind, message):
    with pytest.raises(kind, match=message):
        RayLauncher().start([spec("draft", fail=fail)])


def test_a_cluster_that_another_program_started_is_joined_and_left_running(launcher, driver):
    address = ray.get_runtime_context().gcs_address
    script = driver("ray", "close", RAY_ADDRESS=address)
    script.pids()
    assert script.process.wait(timeout=60) == 0, script.process.stderr.read()
    assert any(node["Alive"] for node in ray.nodes())


def test_close_leaves_no_process(launcher):
    launcher.close()
    assert not ray.is_initialized()
    assert psutil.Process().children(recursive=True) == []


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1"])
def test_a_cluster_that_does_not_answer_is_refused_at_once(spec, address):
    with pytest.raises(InputError, match=rf"^ray_address: {address}: cannot join this cluster"):
        RayLauncher(address=address).start([spec()])


def test_a_cluster_that_wants_a_token_says_how_to_give_it(spec, monkeypatch):
    def refuse(**_):
        raise ConnectionError("Failed to connect") from RuntimeError(
            "ray.exceptions.AuthenticationError: ..."
        )

    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(InputError, match=r"^ray_address: auto: cannot .*: set RAY_AUTH_MODE=token"):
        RayLauncher(address="auto").start([spec()])


@pytest.mark.parametrize("address", ["nowhere", "host:", ":6379", "host:port", "host:99999", "a b:1"])
def test_what_is_no_address_is_told_the_form_of_one(spec, address):
    with pytest.raises(InputError) as refused:
        RayLauncher(address=address).start([spec()])
    assert str(refused.value) == f"ray_address: {address}: give host:port, or auto"


def test_nothing_outlives_ctrl_c(driver, eventually):
    script = driver("ray", "wait")
    script.pids()
    os.killpg(script.process.pid, signal.SIGINT)  # as a terminal does: the whole group
    script.process.wait(timeout=40)
    assert script.descendants() == []


def test_termination_ends_a_script_as_it_wants_and_nothing_outlives_it(driver):
    script = driver("ray", "exit-on-term")
    script.pids()
    script.process.send_signal(signal.SIGTERM)
    assert script.process.wait(timeout=60) == 143
    assert script.descendants() == []
    assert "SIGTERM received" not in script.process.stderr.read()  # Ray's handler, which aborts after 3 s


def test_nothing_outlives_a_script_whose_ray_has_gone(driver):
    script = driver("ray", "exit-on-term")
    script.pids()
    daemons = [it for it in script.descendants() if it.name() in ("raylet", "gcs_server")]
    for daemon in daemons:  # as `timeout` does, whose signal reaches all of them
        daemon.terminate()
    psutil.wait_procs(daemons, timeout=20)
    script.process.terminate()
    script.process.wait(timeout=40)  # Ray itself would look for its daemons for a minute
    assert script.descendants() == []
