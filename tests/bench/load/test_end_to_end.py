"""The command from end to end over a real server, which plays all contenders of ours, and over transformers.

No time is asserted.
"""

from contextlib import contextmanager

import pytest

from amusd.bench.load.offering import offer
from amusd.bench.load.results import read_load_results
from amusd.bench.load.server import local_server
from amusd.bench.load.settings import LoadSettings
from amusd.cli import main
from amusd.policies.table import read_table

pytestmark = pytest.mark.timeout(240)  # starts a server with models


def test_a_load_is_offered_to_every_contender_and_every_answer_compared(tmp_path, capsys, monkeypatch):
    wanted = []

    async def spoil_the_last(address, prompts, jobs, arrivals, seconds_max):
        answers, seconds = await offer(address, prompts, jobs, arrivals, seconds_max)
        answers[-1].token_ids[-1] ^= 1
        return answers, seconds

    monkeypatch.setattr("amusd.bench.load.running.offer", spoil_the_last)
    one = property(lambda settings: (settings.target_devices,))  # a process of transformers is enough
    monkeypatch.setattr(LoadSettings, "batch_devices", one)
    options = ["--draft", "demo-small", "--max-requests", "2", "--dtype", "float32"]
    with local_server(options, tmp_path / "server.log") as server:

        @contextmanager
        def there_already(options, log):
            wanted.append((log.name, dict(zip(options[::2], options[1::2], strict=True))))
            yield server

        monkeypatch.setattr("amusd.bench.load.running.local_server", there_already)
        code = main(
            [
                *("bench", "--load", "--quick", "--contenders", "table,goodput,transformers"),
                *("--ks", "2", "--max-tokens", "6", "--widen", "0", "--dtype", "float32"),
                *("--requests", "4", "--max-requests", "2", "--rates", "2,40", "--arrivals", "bursts"),
                # In 0.3 s a slow machine reads two prompts, and writes nothing.
                *("--live", "2", "--hold-seconds", "1", "--out", str(tmp_path)),
            ]
        )
    results = read_load_results(tmp_path / "load.json")
    table = read_table(tmp_path / "policy-table.json")
    assert {requests: set(row) for requests, row in table.tokens_per_second.items()} == {
        requests: {0, 2} for requests in (1, 2)
    }
    assert all(rate > 0 for row in table.tokens_per_second.values() for rate in row.values())
    logs = [name for name, _ in wanted]
    assert logs == ["alone.log", "fixed-k=2.log", "alone.log", "table.log", "goodput.log"]
    assert wanted[3][1]["--policy-table"] == str(tmp_path / "policy-table.json")
    ours, rivals = ["alone", "table", "goodput"], list(results.rivals)
    assert {(run.contender, run.rate) for run in results.runs} == {
        (key, rate) for key in ours + rivals for rate in (2.0, 40.0)
    }
    greedy = [job.temperature == 0 for job in results.jobs]
    for run in results.runs:
        shown = [request.exact for request in run.requests]
        assert shown == ([True, True, True, False] if run.contender in ours else [g or None for g in greedy])
        assert all(request.arrival <= request.first <= request.finished for request in run.requests)
        assert [request.tokens for request in run.requests] == [job.tokens for job in results.jobs]
    assert {(run.contender, run.live) for run in results.held} == {(key, 2) for key in ours + rivals}
    for run in results.held:
        assert run.tokens > 0
        assert run.different == 0
        assert (run.answers >= 2) == (run.contender in ours)
    assert code == 1
    assert "DIFFERENT TEXT from the target alone: alone, table, goodput" in capsys.readouterr().out
    assert {file.suffix for file in tmp_path.iterdir()} == {".json", ".png", ".log"}
