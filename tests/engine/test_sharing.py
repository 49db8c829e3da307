"""Several draft workers share the requests of one target, and one draft worker serves several targets."""

import contextlib
import os
import signal
from dataclasses import replace

import pytest

from amusd import LLM, InputError, SamplingParams, deployment
from amusd.config import EngineConfig
from amusd.deployment import plan_deployment
from amusd.launchers.attached import AttachedLauncher
from amusd.launchers.base import WorkerSpec
from amusd.prompts import PromptReader
from amusd.workers.entry import run_worker
from tests.engine.conftest import CORES, settings, start

PARAMS = [SamplingParams(temperature=1, seed=seed, max_tokens=200, ignore_eos=True) for seed in range(4)]
AGREED = {"mode": "async", "rule": "race", "max_model_len": None, "vocabulary_size": 2048}


@pytest.fixture(scope="module")
def wanted(alone, held_out):
    return [output.token_ids for output in alone.generate(held_out[:4], PARAMS)]


def drafted(outputs):
    """By drafter, for how many of the outputs it proposed anything."""
    names = [each.name for output in outputs for each in output.metrics.drafters if each.drafted]
    return {name: names.count(name) for name in names}


def test_equal_drafts_share_the_requests_and_one_takes_over_from_another_that_dies(
    monkeypatch, held_out, wanted
):
    monkeypatch.setattr(deployment, "check_devices", lambda *_, **__: None)  # two on one core
    device = f"cpu:{CORES[-1]}"
    options = {"draft": ["demo-small"] * 2, "draft_devices": [device] * 2, "max_requests": 4}
    with start("async", launcher="local", **options) as llm:
        shared = llm.generate(held_out[:4], PARAMS)
        assert [output.token_ids for output in shared] == wanted
        assert drafted(shared) == {"draft 0": 2, "draft 1": 2}
        pid = llm.info()["draft 0"]["pid"]
        streams = [llm.stream(prompt, params) for prompt, params in zip(held_out[:4], PARAMS, strict=True)]
        for stream in streams:
            next(stream)
        os.kill(pid, signal.SIGKILL)
        outputs = [list(stream)[-1].finished for stream in streams]
        assert [output.token_ids for output in outputs] == wanted
        moved = [output for output in outputs if any("draft 1 took over" in note for note in output.notes)]
        assert len(moved) == 2
        assert drafted(outputs)["draft 1"] == 4
        [alone] = llm.generate(held_out[0], PARAMS[0])
        assert alone.token_ids == wanted[0]
        assert len(drafted([alone])) == 1


@pytest.fixture(scope="module")
def served():
    """The addresses of two targets, and of a draft worker with room for three requests."""
    reader = PromptReader(EngineConfig(**settings("async", {"draft": "demo-small", "max_requests": 3})))
    target, draft = plan_deployment(reader.config, len(reader.tokenizer)).workers
    with contextlib.ExitStack() as stack:
        addresses = []
        for spec in (target, target, draft):
            worker = run_worker(spec.payload())
            stack.callback(worker.stop)
            addresses.append(worker.address)
        yield addresses


def join(target, draft, **options):
    """An engine over workers that are there."""
    places = {"launcher": "attached", "target_address": target, "draft_address": draft}
    return LLM(target="demo", draft="demo-small", **{"max_requests": 3} | places | options)


def test_one_draft_worker_serves_two_targets_as_long_as_it_has_room(served, held_out, wanted):
    first, second, draft = served
    with join(second, draft) as other:
        with join(first, draft) as llm:
            streams = [llm.stream(held_out[index], PARAMS[index]) for index in (0, 1)]
            for stream in streams:
                next(stream)
            there = other.generate(held_out[2:4], PARAMS[2:])
            here = [list(stream)[-1].finished for stream in streams]
        assert [output.token_ids for output in (*here, *there)] == wanted
        assert drafted(here) == {"draft 0": 2}
        assert drafted(there) == {"draft 0": 1}
        [refused] = [output for output in there if output.metrics.drafted == 0]
        assert refused.notes[0].startswith("draft 0 does not draft for this request: max_requests: 3")
        again = other.generate(held_out[:3], PARAMS[:3])  # the first one is gone, and its room free
        assert [output.token_ids for output in again] == wanted[:3]
        assert drafted(again) == {"draft 0": 3}


def test_a_draft_worker_has_the_targets_vocabulary_and_any_number_of_places(served):
    *_, address = served
    spec = WorkerSpec("draft", 0, None, (), AGREED | {"max_requests": 8})
    AttachedLauncher("nowhere:1", [address]).start([spec])
    other = replace(spec, options=AGREED | {"vocabulary_size": 2047})
    with pytest.raises(InputError, match=r"^draft_address: .*: its vocabulary_size is 2048, here it is 2047"):
        AttachedLauncher("nowhere:1", [address]).start([other])
