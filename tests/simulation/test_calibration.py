"""A run whose costs and law are known comes back from its trace; so a real one's do too."""

import json
from pathlib import Path

import pytest

from amusd.errors import InputError
from amusd.simulation import Scenario, simulate
from amusd.simulation.calibration import calibrate, read_runs
from amusd.tracing import chrome_trace
from tests.simulation.scenarios import scenario

SEEDS = range(2)


def known(mode: str) -> Scenario:
    """Costs in steps of four rows, as a real target has them."""
    of = scenario(mode=mode, output_tokens=200, network__latency_ms=0.4)
    of = of.with_value("target.overhead_ms", 0.5).with_value("drafters.overhead_ms", 0.25)
    points = [{"rows": 4, "ms": 10.0}, {"rows": 8, "ms": 12.0}]
    return of.with_value("target.curve", {"source": "made up", "rows_step": 4, "points": points})


def written(folder: Path, of: Scenario) -> tuple[Path, Path]:
    """What `amusd generate --json --trace` would leave of a simulated run."""
    run = simulate(of)
    result = run.result
    metrics = {
        "acceptance_rate": result.acceptance_rate,
        "rollbacks": result.rollbacks,
        "foreseen_corrections": round(result.foreseen_corrections * result.corrections),
    }
    output, trace = folder / f"{of.seed}.json", folder / f"{of.seed}.trace.json"
    output.write_text(json.dumps({"token_ids": list(run.texts[1]), "metrics": metrics}))
    trace.write_text(json.dumps(chrome_trace(run.tracks)))
    return output, trace


def test_costs_and_counts_are_read_from_a_trace(tmp_path):
    of = known("async")
    measured = read_runs([written(tmp_path, of.with_value("seed", seed)) for seed in SEEDS], 4)
    results = [simulate(of.with_value("seed", seed)).result for seed in SEEDS]
    assert (measured.runs, measured.tokens) == (2, 400)
    assert measured.pass_ms == pytest.approx({4: 10.0, 8: 12.0})
    assert all(cost == pytest.approx(1.0) for cost in measured.step_ms.values())
    assert (measured.pass_jitter, measured.step_jitter) == pytest.approx((0, 0), abs=1e-6)
    assert measured.pass_overhead_ms == pytest.approx(0.5, abs=1e-3)
    assert measured.step_overhead_ms == pytest.approx(0.25, abs=1e-3)
    assert measured.latency_ms == pytest.approx(0.4, abs=0.1)
    assert measured.seconds == pytest.approx(sum(result.seconds for result in results))
    assert measured.passes == sum(result.passes for result in results)
    assert measured.rollbacks == sum(result.rollbacks for result in results)
    assert measured.accepted / measured.verified == pytest.approx(
        sum(result.acceptance_rate for result in results) / 2, abs=0.02
    )


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_calibrated_scenario_predicts_the_throughput(tmp_path, mode):
    of = known(mode)
    measured = read_runs([written(tmp_path, of.with_value("seed", seed)) for seed in (10, 11)], 4)
    start = of.with_value("drafters.acceptance.rate", 0.2).with_value("network.latency_ms", 30.0)
    fitted = calibrate(start, measured, SEEDS)
    assert fitted.drafters.acceptance.rate == pytest.approx(0.7, abs=0.1)
    results = [simulate(fitted.with_value("seed", seed)).result for seed in SEEDS]
    simulated = sum(result.tokens for result in results) / sum(result.seconds for result in results)
    assert simulated == pytest.approx(measured.tokens / measured.seconds, rel=0.1)


def test_alone_needs_no_draft(tmp_path):
    measured = read_runs([written(tmp_path, known("alone"))], 4)
    assert measured.step_ms == {}
    fitted = calibrate(known("alone"), measured, [0])
    assert simulate(fitted).result.seconds == pytest.approx(measured.seconds)


def test_files_of_something_else_are_refused(tmp_path):
    output, trace = written(tmp_path, known("alone"))
    with pytest.raises(InputError, match="nowhere"):
        read_runs([(tmp_path / "nowhere.json", trace)], 4)
    with pytest.raises(InputError, match="not of one request"):
        read_runs([(output, output)], 4)
    with pytest.raises(InputError, match="not of one request"):
        read_runs([written(tmp_path, scenario(requests=2, seed=1))], 4)
    with pytest.raises(InputError, match="several drafters"):
        read_runs([written(tmp_path, scenario(drafters__count=2, seed=2))], 4)
