"""Logprobs go out with the commits that they are about, again if need be, and are gone with the request."""

from amusd.logprobs import PlacedLogprobs, RowLogprobs
from amusd.speculation.messages import Commit
from amusd.workers.logprob_feed import LogprobFeed


def row(token):
    return RowLogprobs((token,), (-1.0,), 1)


def commit(request, start, *tokens, final=None):
    return Commit(request, 9, start, tokens, ("own",) * len(tokens), final)


def test_a_commit_takes_the_rows_of_its_own_positions_as_often_as_it_is_asked_for():
    feed = LogprobFeed()
    feed.add_output(1, 5, [row(50), row(60)])
    feed.add_output(1, 7, [row(70)])
    first = [PlacedLogprobs(1, 5, row(50)), PlacedLogprobs(1, 6, row(60))]
    assert feed.take([commit(1, 5, 50, 60)]) == first
    assert feed.take([commit(1, 5, 50, 60, 70)]) == [*first, PlacedLogprobs(1, 7, row(70))]


def test_rows_of_the_prompt_go_out_once_and_need_no_commit():
    feed = LogprobFeed()
    feed.add_prompt(1, 1, [row(4)])
    assert feed.take([]) == [PlacedLogprobs(1, 1, row(4))]
    assert feed.take([]) == []


def test_a_request_that_wants_none_has_none_beside_one_that_does():
    feed = LogprobFeed()
    feed.add_output(1, 3, [row(30)])
    feed.add_output(2, 3, [])
    assert feed.take([commit(2, 3, 8), commit(1, 3, 30)]) == [PlacedLogprobs(1, 3, row(30))]


def test_nothing_is_kept_after_the_end_or_when_nobody_reads():
    feed = LogprobFeed()
    feed.add_output(1, 3, [row(30)])
    feed.take([commit(1, 3, 30, final="length")])
    assert feed.take([commit(1, 3, 30)]) == []
    feed.add_output(1, 3, [row(30)])
    feed.add_prompt(1, 1, [row(4)])
    feed.clear()
    assert feed.take([commit(1, 3, 30)]) == []
