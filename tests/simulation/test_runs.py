"""Whole runs: they replay, they write the target's text, and simple ones come to what algebra says."""

import math
import subprocess
import sys
from itertools import pairwise
from statistics import fmean
from typing import get_args

import pytest

from amusd.config import Mode
from amusd.simulation import Scenario, simulate
from amusd.simulation.target_worker import TargetWorker
from amusd.simulation.text import TrueText
from amusd.simulation.world import SimulationError
from amusd.speculation import target
from amusd.speculation.messages import RequestId
from amusd.speculation.walk import Walk
from tests.simulation.scenarios import PASS_MS, STEP_MS, constant_acceptance, scenario

PATIENCE_MS_MAX = 5.0  # of mode async, and the most that a drafter without any use may cost per pass
MODES = get_args(Mode)


def rate(of: Scenario, seeds: range = range(4)) -> float:
    """Mean tokens per second over some seeds."""
    return fmean(simulate(of.with_value("seed", seed)).result.tokens_per_second for seed in seeds)


@pytest.mark.parametrize("mode", MODES)
def test_a_run_replays_from_its_seed(mode):
    of = scenario(mode=mode, network__latency_ms=0.7, drafters__count=2, drafters__agreement=0.5, requests=2)
    assert simulate(of) == simulate(of)
    if mode != "alone":
        assert simulate(of).result != simulate(of.with_value("seed", 1)).result


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("latency_ms", [0.5, 20.0])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"drafters__count": 3, "drafters__agreement": 0.3},
        {"requests": 3},
        {"network__bandwidth_mbit": 0.2},
        {"drafters__acceptance__rate": 0.0},
        {"drafters__cost_ratio": 3.0},
        {"verify": "rows", "drafters__count": 2, "drafters__agreement": 0.3},
        {"verify": "tree"},
    ],
    ids=str,
)
def test_the_text_is_the_targets_own(mode, latency_ms, changes):
    of = scenario(mode=mode, network__latency_ms=latency_ms, output_tokens=40, **changes)
    run = simulate(of)
    text = TrueText(of.seed)
    assert set(run.texts) == {RequestId(index) for index in range(1, of.requests + 1)}
    for request, tokens in run.texts.items():
        first = of.prompt_tokens
        assert list(tokens) == [text.token(request, first + place) for place in range(of.output_tokens)]


def test_a_core_that_accepts_a_wrong_token_is_caught(monkeypatch):
    def accept_all(tokens, parents, winners):
        return Walk(tuple(range(1, len(tokens))), (*tokens[1:], winners[-1]))

    monkeypatch.setattr(target, "walk", accept_all)
    with pytest.raises(SimulationError, match="seed 0: request 1 committed another token than the target's"):
        simulate(scenario())


def test_a_run_that_hangs_is_caught(monkeypatch):
    monkeypatch.setattr(TargetWorker, "work", lambda self: None)
    monkeypatch.setattr(TargetWorker, "wait_ns", lambda self: None)
    with pytest.raises(SimulationError, match="1 requests unfinished"):
        simulate(scenario(mode="alone"))


def test_alone_takes_one_pass_per_token_and_nothing_else():
    result = simulate(scenario(mode="alone")).result
    assert result.tokens_per_second == 1000 / PASS_MS
    assert (result.tokens, result.passes, result.target_busy) == (200, 200, 1.0)
    slower = simulate(scenario(mode="alone", target__overhead_ms=2.5)).result
    assert slower.seconds == pytest.approx((200 * (PASS_MS + 2.5) - 2.5) / 1000)


@pytest.mark.parametrize(("alpha", "count"), [(0.3, 1), (0.7, 3), (0.9, 7)])
def test_sync_comes_to_what_its_formula_says(alpha, count):
    of = scenario(
        mode="sync",
        num_speculative_tokens=count,
        output_tokens=2000,
        drafters__acceptance=constant_acceptance(alpha),
    )
    expected_tokens = (1 - alpha ** (count + 1)) / (1 - alpha)
    expected = 1000 * expected_tokens / (PASS_MS + count * STEP_MS)
    # 4,000 tokens: some 1.4 % of sampling error
    assert rate(of, range(2)) == pytest.approx(expected, rel=0.04)


def test_a_perfect_and_fast_drafter_fills_every_pass():
    of = scenario(
        drafters__acceptance=constant_acceptance(1.0), drafters__cost_ratio=0.01, num_speculative_tokens=7
    )
    result = simulate(of).result
    assert result.acceptance_rate == 1.0
    assert result.passes <= 200 // 8 + 2  # the first two find little: their drafts are not worth a wait
    assert result.target_busy > 0.98


@pytest.mark.parametrize("latency_ms", [0.0, 50.0])
@pytest.mark.parametrize("cost_ratio", [0.05, 4.0])
def test_a_drafter_without_any_use_costs_its_patience_at_most(latency_ms, cost_ratio):
    of = scenario(
        drafters__acceptance=constant_acceptance(0.0),
        drafters__cost_ratio=cost_ratio,
        network__latency_ms=latency_ms,
    )
    result = simulate(of).result
    assert result.tokens_per_pass == 1.0
    assert result.seconds <= result.tokens * (PASS_MS + PATIENCE_MS_MAX) / 1000


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_more_latency_never_helps(mode):
    rates = [rate(scenario(mode=mode, network__latency_ms=latency_ms)) for latency_ms in (0, 2, 8, 32)]
    for near, far in pairwise(rates):
        assert far <= near * 1.02
    assert rates[-1] < 0.8 * rates[0]


def test_a_better_drafter_is_never_slower():
    rates = [rate(scenario(drafters__acceptance__rate=share)) for share in (0.3, 0.6, 0.9)]
    assert rates == sorted(rates)
    assert rates[-1] > 1.5 * rates[0]


def test_async_beats_sync_where_both_sides_have_work():
    at_once, in_turns = (rate(scenario(mode=mode)) for mode in ("async", "sync"))
    assert at_once > 1.15 * in_turns


def test_different_drafters_foresee_more_than_copies_of_one():
    def foreseen(count: int, agreement: float) -> float:
        of = scenario(drafters__count=count, drafters__agreement=agreement, drafters__acceptance__rate=0.4)
        return fmean(simulate(of.with_value("seed", seed)).result.foreseen_corrections for seed in range(3))

    assert foreseen(3, 0.0) > foreseen(3, 1.0) + 0.05


def test_overlap_is_none_in_turns_and_much_at_once():
    in_turns, at_once = (simulate(scenario(mode=mode)).result for mode in ("sync", "async"))
    assert in_turns.overlap < 0.02
    assert at_once.overlap > 0.5
    assert at_once.useful_overlap <= at_once.overlap <= min(at_once.target_busy, 1.0)


def test_numbers_add_up():
    result = simulate(scenario(requests=2)).result
    assert result.tokens == 400
    assert result.tokens_per_second == pytest.approx(result.tokens / result.seconds)
    assert 0 < result.foreseen_corrections < 1
    assert result.stale_nodes < result.drafted
    assert math.isfinite(result.bytes_per_token) and result.bytes_per_token > 0


def test_a_simulation_needs_no_model_and_no_network():
    heavy = "{'torch', 'transformers', 'ray', 'grpc', 'msgpack', 'matplotlib'}"
    program = f"import sys, amusd.simulation; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_jitter_spreads_times_and_keeps_their_mean():
    steady, jittery = (
        simulate(scenario(mode="alone", output_tokens=2000, target__curve__jitter=jitter))
        for jitter in (0.0, 0.3)
    )
    assert jittery.result.seconds == pytest.approx(steady.result.seconds, rel=0.03)
    lengths = {event.end_ns - event.start_ns for event in jittery.tracks[-1].slices("pass")}
    assert len(lengths) > 1000
