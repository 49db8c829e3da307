"""The order of things, over servers that answer at once."""

from contextlib import nullcontext
from itertools import pairwise
from types import SimpleNamespace

import pytest

from amusd.bench.load import experiment as module
from amusd.bench.load.experiment import run_load
from amusd.bench.load.offering import Answer, Held
from amusd.bench.load.results import read_load_results
from amusd.bench.load.running import OurServer
from amusd.bench.load.settings import read_load_settings
from amusd.devices import Inventory
from amusd.errors import WorkerError
from tests.bench.test_experiment import Silent

RATES = (1.0, 4.0)


class Instant(OurServer):
    """Answers every request with sevens, until it has been asked too often."""

    def __init__(self, key, asked, times):
        super().__init__(SimpleNamespace(address=""), (), None)
        self._key, self._asked, self._times = key, asked, times

    def offer(self, jobs, arrivals, seconds_max):
        self._asked.append(self._key)
        if self._asked.count(self._key) > self._times:
            raise WorkerError("the server has died")
        answers = [
            Answer(at, first=at, first_tokens=1, finished=at + 1, token_ids=[7] * job.tokens)
            for job, at in zip(jobs, arrivals, strict=True)
        ]
        return answers, arrivals[-1] + 1

    def hold(self, jobs, live, seconds):
        self._asked.append(self._key)
        return Held(10, seconds)


@pytest.fixture
def start(monkeypatch, tmp_path):
    """Runs three repeats of two rates and a closed loop; `times` bounds how often `goodput` may be asked."""
    monkeypatch.setattr("amusd.bench.common.available", lambda: Inventory((0, 1)))
    monkeypatch.setattr(module, "kept_on", lambda cores: nullcontext())

    async def exact(address):
        return True

    async def sevens(address, prompts, jobs):
        return [(7,) * job.tokens for job in jobs]

    monkeypatch.setattr(module, "is_exact", exact)
    monkeypatch.setattr(module, "decode_in_turn", sevens)
    asked = []

    def start(times=1000):
        def pretend(contender, settings, prompts, runner):
            return nullcontext(Instant(contender.key, asked, times if contender.key == "goodput" else 1000))

        monkeypatch.setattr(module, "start", pretend)
        settings = read_load_settings(
            quick=True,
            contenders=("fixed", "goodput"),
            ks=(3,),
            rates=RATES,
            requests=4,
            live=(2,),
            repeats=3,
            out=tmp_path,
        )
        run_load(settings, Silent(), lambda results: results.write(tmp_path / "load.json"))
        return asked

    return start


def test_everybody_is_asked_once_under_each_load_in_rotated_order(start):
    warm_up, *rounds = zip(*[iter(start())] * 3, strict=True)
    assert sorted(warm_up) == ["alone", "fixed k=3", "goodput"]
    assert len(rounds) == 3 * 3
    for before, after in pairwise(rounds):
        assert after == before[1:] + before[:1]


def test_a_server_that_dies_costs_no_more_than_the_repeat_that_it_dies_in(start, tmp_path):
    with pytest.raises(WorkerError, match="the server has died"):
        start(times=1 + 3 + 1)  # to warm up, of a whole repeat, and of a part of the next
    kept = read_load_results(tmp_path / "load.json")
    assert {(run.contender, run.rate, run.repeat) for run in kept.runs} == {
        (key, rate, 0) for key in kept.contenders for rate in RATES
    }
    assert [run.repeat for run in kept.held] == [0, 0, 0]
    assert [item.finished for item in kept.measures()] == [4] * 6
    assert kept.different() == []
    assert kept.seconds > 0
