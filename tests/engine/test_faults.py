"""Processes die, stop and come back; the text stays, and no request hangs."""

import os
import signal
import threading
import time

import pytest

from amusd import SamplingParams
from amusd.coordinator import coordinator
from amusd.launchers.local import LocalLauncher
from tests.engine.conftest import start

PARAMS = SamplingParams(temperature=1, seed=5, max_tokens=150, ignore_eos=True)
DEADLINE_SECONDS = 60
PAUSE_SECONDS = 1.0


def decode(llm, prompt, at_token, act):
    """Decode, and call ``act`` once when so many tokens are there."""
    acted = False
    seen = 0
    for chunk in llm.stream(prompt, PARAMS):
        seen += len(chunk.token_ids)
        if seen >= at_token and not acted:
            acted = True
            act()
        if chunk.finished is not None:
            return chunk.finished
    raise AssertionError("the stream ended without an output")


def acceptance_rate(llm, prompt):
    """Of a fresh request."""
    return llm.generate(prompt, PARAMS)[0].metrics.acceptance_rate


def send(llm, role, number):
    os.kill(llm.info()["target" if role == "target" else "draft 0"]["pid"], number)


@pytest.fixture(scope="module")
def wanted(alone, held_out):
    return alone.generate(held_out[0], PARAMS)[0].token_ids


@pytest.fixture(scope="module")
def engine():
    """One for all: whatever a test does to it, it has to be whole again at the end of that test."""
    with start("async") as llm:
        yield llm


def test_a_killed_draft_costs_speed_only_and_is_used_again(engine, held_out, wanted, eventually):
    before = engine.info()["draft 0"]["pid"]
    output = decode(engine, held_out[0], 20, lambda: send(engine, "draft", signal.SIGKILL))
    assert output.token_ids == wanted
    assert any("draft 0 was lost at token" in note for note in output.notes)
    eventually(lambda: engine.info().get("draft 0", {}).get("pid", before) != before, DEADLINE_SECONDS)
    eventually(lambda: acceptance_rate(engine, held_out[0]), DEADLINE_SECONDS)
    assert engine.generate(held_out[0], PARAMS)[0].token_ids == wanted


def test_a_stopped_draft_costs_speed_only_and_is_used_again(engine, held_out, wanted, eventually):
    pid = engine.info()["draft 0"]["pid"]
    try:
        outputs = [decode(engine, held_out[0], 20, lambda: os.kill(pid, signal.SIGSTOP))]
        told = "draft 0 stopped answering at token"  # by the first request that is long enough to notice
        until = time.monotonic() + DEADLINE_SECONDS
        while not any(note.startswith(told) for note in outputs[-1].notes):
            assert time.monotonic() < until
            outputs += engine.generate(held_out[0], PARAMS)
        outputs += engine.generate(held_out[0], PARAMS)
        assert outputs[-1].notes == ("draft 0 did not answer at the start",)
        assert {output.token_ids for output in outputs} == {wanted}
    finally:
        os.kill(pid, signal.SIGCONT)
    eventually(lambda: acceptance_rate(engine, held_out[0]), DEADLINE_SECONDS)
    assert engine.generate(held_out[0], PARAMS)[0].token_ids == wanted


def test_a_draft_that_cannot_be_reached_leaves_the_target_alone(monkeypatch, held_out, wanted):
    address = LocalLauncher.address

    def nowhere(self, role, index):
        return "127.0.0.1:9" if role == "draft" else address(self, role, index)

    monkeypatch.setattr(LocalLauncher, "address", nowhere)
    monkeypatch.setattr(coordinator, "ATTACH_SECONDS_MAX", 0.1)
    with start("async", launcher="inprocess", draft="random") as llm:
        [output] = llm.generate(held_out[0], PARAMS)
    assert output.token_ids == wanted
    assert output.metrics.acceptance_rate == 0
    assert any("draft 0 was not there at the start" in note for note in output.notes)


def test_a_killed_target_resumes_live_requests_from_the_ledger(engine, held_out, wanted):
    output = decode(engine, held_out[0], 20, lambda: send(engine, "target", signal.SIGKILL))
    assert output.token_ids == wanted
    assert any("the target was lost at token" in note for note in output.notes)
    assert any("the target came back at token" in note for note in output.notes)
    again = engine.generate(held_out[0], PARAMS)[0]
    assert again.token_ids == wanted
    assert again.metrics.acceptance_rate > 0  # its drafter found the new target


def test_a_stopped_target_goes_on_where_it_was(engine, held_out, wanted):
    pid = engine.info()["target"]["pid"]

    def pause():
        os.kill(pid, signal.SIGSTOP)
        threading.Timer(PAUSE_SECONDS, os.kill, (pid, signal.SIGCONT)).start()

    started = time.monotonic()
    assert decode(engine, held_out[0], 20, pause).token_ids == wanted
    assert time.monotonic() - started > PAUSE_SECONDS
