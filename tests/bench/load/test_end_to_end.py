"""The command from end to end over a real server, which plays both contenders. No time is asserted."""

from contextlib import contextmanager

import pytest

from amusd.bench.load.offering import offer
from amusd.bench.load.results import read_load_results
from amusd.bench.load.server import local_server
from amusd.cli import main

pytestmark = pytest.mark.timeout(240)  # starts a server with models


def test_a_load_is_offered_to_every_contender_and_every_answer_compared(tmp_path, capsys, monkeypatch):
    wanted = []

    async def spoil_the_last(address, prompts, jobs, arrivals, seconds_max):
        answers, seconds = await offer(address, prompts, jobs, arrivals, seconds_max)
        answers[-1].token_ids[-1] ^= 1
        return answers, seconds

    monkeypatch.setattr("amusd.bench.load.experiment.offer", spoil_the_last)
    options = ["--draft", "demo-small", "--max-requests", "2", "--dtype", "float32"]
    with local_server(options, tmp_path / "server.log") as server:

        @contextmanager
        def there_already(options, log):
            wanted.append(log.name)
            yield server

        monkeypatch.setattr("amusd.bench.load.experiment.local_server", there_already)
        code = main(
            [
                *("bench", "--load", "--quick", "--contenders", "goodput", "--max-tokens", "6"),
                *("--requests", "4", "--max-requests", "2", "--rates", "2,40", "--arrivals", "bursts"),
                *("--out", str(tmp_path)),
            ]
        )
    results = read_load_results(tmp_path / "load.json")
    assert wanted == ["alone.log", "goodput.log"]
    runs = [(run.contender, run.rate) for run in results.runs]
    assert sorted(runs) == [("alone", 2.0), ("alone", 40.0), ("goodput", 2.0), ("goodput", 40.0)]
    for run in results.runs:
        assert [request.exact for request in run.requests] == [True, True, True, False]
        assert all(request.arrival <= request.first <= request.finished for request in run.requests)
        assert [request.tokens for request in run.requests] == [job.tokens for job in results.jobs]
    assert code == 1
    assert "DIFFERENT TEXT from the target alone: alone, goodput" in capsys.readouterr().out
    assert {file.suffix for file in tmp_path.iterdir()} == {".json", ".png", ".log"}
