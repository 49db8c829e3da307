"""Every measure by its formula, on requests that were made up."""

import pytest

from amusd.bench.load.measures import Distribution, compare, distribution, goodput, measure, measure_held
from amusd.bench.load.runs import Request
from tests.bench.load.recorded import RIVAL, held, recorded, request, run


def test_times_of_a_request_run_from_when_it_was_due():
    shown = request(arrival=3.0, seconds=2.0)
    assert shown.latency == 2.0
    assert shown.first_token == 0.5
    assert shown.per_token == pytest.approx(1.5 / 8), "the two tokens that came first are left out"


def test_an_answer_that_came_at_once_has_no_time_per_token_and_an_unfinished_one_no_latency():
    assert request(first_tokens=10).per_token is None
    begun = Request(0, arrival=1.0, first=2.0, first_tokens=1, tokens=3)
    assert (begun.latency, begun.per_token, begun.first_token) == (None, None, 1.0)


def test_goodput_counts_the_tokens_of_finished_requests_over_the_whole_run():
    unfinished = Request(2, arrival=0.0, first=1.0, first_tokens=4, tokens=90)
    shown = run(seconds=2.0, requests=(request(0), request(1, tokens=30), unfinished))
    assert goodput(shown) == (10 + 30) / 2.0


def test_percentiles_are_linear_between_neighbours():
    assert distribution(map(float, range(101))) == Distribution(50.0, 50.0, 99.0)
    assert distribution([1.0, 3.0]) == Distribution(2.0, 2.0, pytest.approx(2.98))
    assert distribution([5.0]) == Distribution(5.0, 5.0, 5.0)
    assert distribution([4.0, None, 2.0]).mean == 3.0
    assert distribution([None]) is None


def test_repeats_are_pooled_for_times_and_kept_apart_for_goodput():
    shown = measure([run(rate=0.5, repeat=0), run(rate=0.5, repeat=1)])
    assert shown.latency.mean == 3.0
    assert (shown.goodput.low, shown.goodput.high) == (20 / 5.0, 20 / 3.0)
    assert shown.in_flight == pytest.approx((2 + 2 + 4 + 4) / (3.0 + 5.0))
    assert (shown.verified, shown.accepted) == (2.0, 0.5)
    assert (shown.finished, shown.offered, shown.exact) == (4, 4, 4)


def test_the_ratio_over_the_target_alone_is_paired_by_repeat():
    alone = [run(repeat=0, each=2.0), run(repeat=1, each=2.0)]
    ours = [run("goodput", repeat=0, each=1.0), run("goodput", repeat=1, each=2.0)]
    ratio = measure(ours, alone).over_alone
    assert (ratio.low, ratio.high) == (1.0, pytest.approx(2.5 / 1.5))


def test_unfinished_requests_are_in_flight_to_the_end_and_nothing_else():
    shown = measure([run(seconds=4.0, requests=(request(0), Request(1, arrival=1.0)))])
    assert shown.in_flight == (2.0 + 3.0) / 4.0
    assert (shown.finished, shown.offered) == (1, 2)
    nothing = measure([run(requests=(Request(0, arrival=0.0),))])
    assert (nothing.goodput.median, nothing.latency, nothing.accepted) == (0.0, None, None)


def test_a_contender_is_set_against_the_best_of_the_others_in_goodput_and_in_latency():
    ours, fast, prompt = (
        measure([run(key, requests=(request(seconds=seconds, tokens=tokens),))])
        for key, seconds, tokens in (("goodput", 2.0, 20), ("fixed k=3", 4.0, 40), ("alone", 1.0, 5))
    )
    shown = compare(ours, [fast, prompt])
    assert (shown.goodput, shown.goodput_of) == (0.5, "fixed k=3")
    assert (shown.latency, shown.latency_of) == (0.5, "alone")
    assert compare(ours, []) is None
    assert compare(ours, [measure([run(requests=(Request(0, arrival=0.0),))])]) is None


def test_results_say_who_wrote_another_text():
    results = recorded()
    assert results.different() == []
    results.runs[-2] = run("goodput", 4.0, 1, requests=(request(), request(1, exact=False)))
    assert results.different() == ["goodput"]
    shown = next(item for item in results.measures() if (item.contender, item.rate) == ("goodput", 4.0))
    assert shown.exact == shown.compared - 1


def test_tokens_per_pass_are_told_apart_by_the_kind_of_the_prompt():
    requests = (request(0, tokens=30), request(1, tokens=10), request(2, tokens=20))
    shown = measure([run(requests=requests)], kinds=["code", "prose", "code"])
    assert shown.tokens_per_pass == {"code": 50 / 10, "prose": 10 / 5}
    assert measure([run(requests=requests)]).tokens_per_pass == {}
    assert recorded().measures()[0].tokens_per_pass == {"code": 2.0, "prose": 2.0}
    assert recorded().measures()[3].tokens_per_pass == {}, "transformers counts no passes"


def test_a_closed_loop_is_set_against_others_within_each_repeat():
    mine = [held("goodput", repeat=0, tokens=100), held("goodput", repeat=1, tokens=300)]
    others = {"alone": [held(tokens=50), held(tokens=100)], RIVAL: [held(RIVAL, tokens=0), held(RIVAL)]}
    shown = measure_held(mine, others)
    assert (shown.tokens_per_second.low, shown.tokens_per_second.high) == (50.0, 150.0)
    assert (shown.over["alone"].low, shown.over["alone"].high) == (2.0, 3.0)
    assert RIVAL not in shown.over, "it made nothing in one repeat"
