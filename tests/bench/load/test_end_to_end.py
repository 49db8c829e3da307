"""The command from end to end: two real servers, a few requests. No time is asserted."""

import pytest

from amusd.bench.load.offering import offer
from amusd.bench.load.results import read_load_results
from amusd.cli import main

pytestmark = pytest.mark.timeout(240)  # starts two servers with models


def test_a_load_is_offered_to_every_contender_and_every_answer_compared(tmp_path, capsys, monkeypatch):
    async def spoil_the_last(address, prompts, jobs, arrivals, seconds_max):
        answers, seconds = await offer(address, prompts, jobs, arrivals, seconds_max)
        answers[-1].token_ids[-1] ^= 1
        return answers, seconds

    monkeypatch.setattr("amusd.bench.load.experiment.offer", spoil_the_last)
    code = main(
        [
            *("bench", "--load", "--quick", "--contenders", "goodput", "--dtype", "float32", "--widen", "0"),
            *("--draft", "demo-small", "--max-tokens", "6", "--requests", "4", "--max-requests", "2"),
            *("--rates", "2,40", "--arrivals", "bursts", "--out", str(tmp_path)),
        ]
    )
    results = read_load_results(tmp_path / "load.json")
    assert [(run.contender, run.rate) for run in results.runs].count(("goodput", 40.0)) == 1
    assert len(results.runs) == 4
    for run in results.runs:
        assert [request.exact for request in run.requests] == [True, True, True, False]
        assert all(request.arrival <= request.first <= request.finished for request in run.requests)
        assert [request.tokens for request in run.requests] == [job.tokens for job in results.jobs]
    assert code == 1
    assert "DIFFERENT TEXT from the target alone: alone, goodput" in capsys.readouterr().out
    assert {file.suffix for file in tmp_path.iterdir()} == {".json", ".png", ".log"}
