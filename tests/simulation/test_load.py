"""Many requests at a time: what is published of speculation under load, on a small scenario.

SmartSpec (arXiv 2406.14066) and the synergy of speculation and batching (arXiv 2310.18813): the best fixed
number of drafted tokens falls as the batch grows, a fixed number harms from some load on, and choosing by
goodput follows the upper envelope.
"""

import json
from itertools import pairwise

import pytest

from amusd.policies.adaptive import AdaptiveVerify
from amusd.policies.costs import CostCurve
from amusd.policies.drafting import BestFirstPolicy
from amusd.policies.fixed import FixedVerify
from amusd.policies.leading import NOTHING, Leads
from amusd.simulation import Scenario
from amusd.simulation.load.batches import run_batch
from amusd.simulation.load.contenders import ALONE, JUDGED, TABLE, contenders, table_contender
from amusd.simulation.load.experiment import LoadResult, run_load
from amusd.simulation.load.offered import run_offered
from tests.simulation.scenarios import PASS_MS, STEP_MS, scenario

FREE_ROWS = 16
ROOFLINE = {
    "source": "made up",
    "weights_g": 10.0,
    "weight_bytes": 1.0,
    "cell_bytes": 1.0,
    "bandwidth_tb_s": 1.0,
    "bandwidth_reached": 1.0,
    "peak_tflops": 2.0 * FREE_ROWS,
    "peak_reached": 1.0,
}  # 10 ms up to 16 rows, 0.625 ms for each further one
LOAD = {
    "ks": [1, 3, 7],
    "batches": [1, 4, 32],
    "batch_tokens": 8,
    "tokens_min": 300,
    "loads": [0.2, 1.2],
    "requests": 48,
    "output_tokens": 20,
    "max_requests": 24,
    "prefill_elsewhere": True,
}


def loaded(**changes: object) -> Scenario:
    """A target of which few rows are free."""
    of = scenario(target__curve=ROOFLINE, drafters__rows_max=12, drafters__acceptance__mix=[-0.5, 0.5])
    return of.with_values({f"load.{name}": value for name, value in (LOAD | changes).items()})


def contender(of: Scenario, key: str):
    """The contender of that name."""
    return next(each for each in contenders(of) if each.key == key)


@pytest.fixture(scope="module")
def result() -> LoadResult:
    return run_load(loaded())


def test_the_best_fixed_number_falls_as_the_batch_grows(result):
    best = [verdict.best_k for verdict in result.batch_verdicts()]
    assert best[0] >= 3
    assert best[-1] == 0
    assert all(after <= before for before, after in pairwise(best))


def test_a_fixed_number_helps_few_requests_and_harms_many(result):
    few, *_, many = result.batch_verdicts()
    assert few.harm > 1.2
    assert many.harm < 0.7
    idle, busy = result.rate_verdicts()
    assert idle.harm > 1.0
    assert busy.harm < 0.8


def test_goodput_follows_the_upper_envelope(result):
    for verdict in (*result.batch_verdicts(), *result.rate_verdicts()):
        assert verdict.judged >= 0.97, verdict


def test_a_table_has_the_best_of_each_batch_and_keeps_to_it_as_requests_come_and_go():
    of = loaded(ways=["sync", "fixed"], ks=[1, 7], batches=[1, 4, 20])
    found = run_load(of)
    shown = [ALONE, "sync k=1", "sync k=7", "fixed k=1", "fixed k=7", TABLE, JUDGED]
    assert [each.key for each in found.contenders] == shown
    rates = {(item.contender, item.requests): item.tokens_per_second for item in found.batches}
    ks = found.table
    assert found.to_dict()["policy_table"] == ks
    assert ks.keys() == {1, 4, 20}
    assert ks[1] == 7
    assert ks[20] < 7
    for requests, k in ks.items():
        best = ALONE if k == 0 else f"fixed k={k}"
        assert rates[best, requests] == max(rates[key, requests] for key in (ALONE, "fixed k=1", "fixed k=7"))
        assert rates[TABLE, requests] == pytest.approx(rates[best, requests], rel=0.1)
    idle, busy = (item.verified for item in found.offered if item.contender == TABLE)
    assert busy < idle / 2


def test_a_batch_has_the_number_that_the_table_has_for_it():
    of = loaded()
    table = table_contender(of, {1: {0: 1.0, 3: 2.0}, 8: {0: 1.0, 3: 0.5}})
    assert run_batch(of, table, 4).verified > 1.0
    assert run_batch(of, table, 8).verified == 0.0


def test_all_numbers_can_be_written(result):
    found = json.loads(json.dumps(result.to_dict()))
    assert len(found["batches"]) == 3 * 5
    assert len(found["offered"]) == 2 * 5
    assert found["contenders"] == [ALONE, "sync k=1", "sync k=3", "sync k=7", JUDGED]


def test_a_run_replays_from_its_seed():
    of, other = loaded(), loaded().with_value("seed", 1)
    judged = contender(of, JUDGED)
    assert run_batch(of, judged, 4) == run_batch(of, judged, 4) != run_batch(other, judged, 4)
    first, again, differs = (run_offered(each, judged, 20.0, 16) for each in (of, of, other))
    assert first == again != differs


@pytest.mark.parametrize(
    ("policy", "method", "answer", "key"),
    [
        (AdaptiveVerify, "widths", lambda self, reaches: dict.fromkeys(reaches, 0), JUDGED),
        (FixedVerify, "widths", lambda self, reaches: dict.fromkeys(reaches, 0), "sync k=3"),
        (BestFirstPolicy, "choose", lambda self, futures, least_reach: [], JUDGED),
        (Leads, "least_reach", lambda self, request, price, prospect: NOTHING, JUDGED),
    ],
)
def test_what_decides_are_the_engines_own_policies(policy, method, answer, key, monkeypatch):
    of = loaded()
    before = run_batch(of, contender(of, key), 4)
    assert before.verified > 0.5
    monkeypatch.setattr(policy, method, answer)
    after = run_batch(of, contender(of, key), 4)
    assert after.verified == 0
    assert after.tokens_per_second < 0.8 * before.tokens_per_second


def test_a_full_server_lets_requests_wait_and_does_not_slow_the_arrivals():
    of = loaded(max_requests=1, output_tokens=2, arrivals="bursts").with_value("target.prefill_ms", 7.0)
    found = run_offered(of, contender(of, ALONE), 1e6, 4)  # four at once, of one or two tokens
    tokens = found.goodput * found.seconds
    assert found.seconds == pytest.approx((4 * 7 + tokens * 10) / 1000, abs=1e-6)
    shared = run_offered(of.with_value("load.max_requests", 4), contender(of, ALONE), 1e6, 4)
    assert shared.seconds == pytest.approx((7 + 2 * 10) / 1000, abs=1e-6)
    assert shared.first_token == pytest.approx(0.017, abs=1e-6)


def test_the_target_prefills_between_passes_unless_others_do():
    of = loaded(output_tokens=2, arrivals="bursts").with_value("target.prefill_ms", 7.0)
    alone = contender(of, ALONE)
    elsewhere = run_offered(of, alone, 1e6, 4)
    itself = run_offered(of.with_value("load.prefill_elsewhere", False), alone, 1e6, 4)
    assert itself.latency > elsewhere.latency + 0.007
    assert itself.seconds >= (4 * 7 + 2 * 10) / 1000


def test_kinds_of_requests_take_turns_and_a_small_batch_meets_all_of_them():
    of = loaded().with_value("drafters.acceptance.mix", [-50.0, 50.0])
    verified = run_batch(of, contender(of, "sync k=3"), 1)
    assert 1.2 < verified.tokens_per_pass < 3.0  # one kind never accepts, the other always


def test_a_drafter_hears_the_price_and_both_sides_learn_what_their_work_takes(monkeypatch):
    prices, seconds = [], []
    lead, learn = Leads.least_reach, CostCurve.observe

    def note_price(self, request, price, prospect):
        prices.append(price)
        return lead(self, request, price, prospect)

    def note_seconds(self, rows, requests, took, cells=0):
        seconds.append(took)
        learn(self, rows, requests, took, cells)

    monkeypatch.setattr(Leads, "least_reach", note_price)
    monkeypatch.setattr(CostCurve, "observe", note_seconds)
    of = loaded()
    run_batch(of, contender(of, JUDGED), 8)
    assert prices[0] == 0.0 < max(prices)
    assert min(seconds) == pytest.approx(STEP_MS / 1000, abs=1e-6)
    assert max(seconds) > PASS_MS / 1000
