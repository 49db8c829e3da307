"""Workers that were started by hand, each in a process of its own, and coordinators that join them."""

import contextlib
import re
import socket
import subprocess
import sys

import pytest

from amusd import LLM, SamplingParams
from amusd.errors import InputError, WorkerError
from amusd.launchers.attached import AttachedLauncher
from amusd.launchers.base import WorkerSpec
from tests.engine.conftest import CORES

pytestmark = pytest.mark.timeout(300)
PAIR = ("--target", "demo", "--draft", "demo-large")
SIZES = ("--max-requests", "2", "--max-model-len", "512")
ENGINE = {"target": "demo", "draft": "demo-large", "max_requests": 2, "max_model_len": 512}
PARAMS = SamplingParams(temperature=1, seed=3, max_tokens=40, ignore_eos=True)


def free_address():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return "{}:{}".format(*probe.getsockname())


@contextlib.contextmanager
def worker(role, address, core, *options):
    """`amusd worker ROLE`; the value is a function that returns once it serves."""
    command = [sys.executable, "-m", "amusd", "worker", role, "--listen", address, "--devices", f"cpu:{core}"]
    process = subprocess.Popen([*command, *PAIR, *SIZES, *options], stderr=subprocess.PIPE, text=True)

    def wait():
        for line in process.stderr:
            if re.fullmatch(rf"{role} worker on cpu:{core} serves at {address}\n", line):
                break
        else:
            raise AssertionError(f"{role} worker: exit code {process.wait()}")

    try:
        yield wait
    finally:
        process.terminate()
        process.communicate(timeout=20)
        assert process.returncode == 0


@pytest.fixture(scope="module")
def addresses():
    """Of a target and of a draft that dials it."""
    target, draft = free_address(), free_address()
    with (
        worker("target", target, CORES[0]) as wait_for_target,
        worker("draft", draft, CORES[-1], "--connect", target) as wait_for_draft,
    ):
        wait_for_target()
        wait_for_draft()
        yield {"target_address": target, "draft_address": draft}


@pytest.fixture(scope="module")
def wanted(held_out, alone):
    return [output.token_ids for output in alone.generate(held_out[:2], PARAMS)]


def test_workers_that_were_started_by_hand_write_the_bytes_of_the_target_alone(addresses, held_out, wanted):
    for _ in range(2):  # a second coordinator finds them as the first one did
        with LLM(launcher="attached", **ENGINE, **addresses) as llm:
            outputs = llm.generate(held_out[:2], PARAMS)
        assert [output.token_ids for output in outputs] == wanted
        assert outputs[0].metrics.acceptance_rate > 0


def test_where_the_draft_dials_is_its_own_affair(addresses, held_out, wanted):
    """The coordinator's address of the target leads through a port that the draft is not told of."""
    here, port = addresses["target_address"].split(":")
    with LLM(launcher="attached", **ENGINE, **addresses | {"target_address": f"localhost:{port}"}) as llm:
        [output] = llm.generate(held_out[0], PARAMS)
    assert output.token_ids == wanted[0]
    assert output.metrics.acceptance_rate > 0
    assert here == "127.0.0.1"


def test_without_the_draft_the_target_decodes_on(addresses, held_out, wanted):
    another = free_address()
    with worker("draft", another, CORES[-1]) as wait:  # told by the coordinator where the target is
        wait()
        llm = LLM(launcher="attached", **ENGINE, **addresses | {"draft_address": another})
        [helped] = llm.generate(held_out[0], PARAMS)
    with llm:
        [output] = llm.generate(held_out[0], PARAMS)
    assert helped.metrics.acceptance_rate > 0
    assert output.metrics.acceptance_rate == 0
    assert output.token_ids == helped.token_ids == wanted[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mode": "sync"}, r"^target_address: .*: its mode is async, here it is sync; start both with"),
        ({"max_requests": 3}, r"^target_address: .*: its max_requests is 2, here it is 3"),
        ({"target_address": "draft"}, r"^target_address: .*: a draft worker answers there, not a target"),
        ({"draft_address": "a:1,b:2"}, r"^draft_address: a:1,b:2: names 2 workers for 1 drafts"),
    ],
)
def test_what_does_not_fit_is_refused_at_the_start(addresses, change, message):
    if change.get("target_address"):
        change = {"target_address": addresses["draft_address"]}
    with pytest.raises(InputError, match=message):
        LLM(launcher="attached", **ENGINE | addresses | change)


def test_a_worker_that_never_answers_is_named(addresses):
    nowhere = free_address()
    launcher = AttachedLauncher(nowhere, [], wait_seconds_max=0.1)
    with pytest.raises(WorkerError, match=f"no target worker answers at {nowhere}"):
        launcher.start([WorkerSpec("target", 0, None, ())])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"^target_address: \(not given\): the attached launcher needs it"),
        ({"target_address": "a:1"}, r"^draft_address: \(not given\): the attached launcher needs it"),
        (
            {"target_address": "a:1", "draft": None, "target_devices": "cpu:0"},
            "^target_devices: cpu:0: an attached worker was told",
        ),
        (
            {"target_address": "a:1", "launcher": "local"},
            "^target_address: a:1: only the attached launcher takes it",
        ),
    ],
)
def test_addresses_and_devices_exclude_each_other(options, message):
    with pytest.raises(InputError, match=message):
        LLM(**{"launcher": "attached"} | options)


@pytest.mark.parametrize("address", ["9001", "host:", "host:99999", "a b:1"])
def test_what_is_no_address_is_told_the_form_of_one(address):
    command = [sys.executable, "-m", "amusd", "worker", "target", "--listen", address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr == f"amusd: --listen: {address}: give host:port, such as 10.0.0.1:9001\n"
