"""What a trace says about costs."""

from amusd.bench.traces import (
    Proposal,
    draft_milliseconds,
    last_request,
    merge,
    pass_milliseconds,
    read_trace,
)
from amusd.tracing import Event, Track, chrome_trace

MS = 1_000_000

CHROME = chrome_trace(
    [
        Track(
            "draft 0",
            (
                Event("draft", 1 * MS, 2 * MS, {"rows": 1, "nodes": [(1, 0)]}),
                Event("draft", 2 * MS, 5 * MS, {"rows": 4, "nodes": [(1, 1)]}),
            ),
            incarnation=7,
        ),
        Track(
            "target 0",
            (
                Event("pass", 2 * MS, 12 * MS, {"requests": 1, "verified": 3, "aliases": [(7, 1, 0)]}),
                Event("rollback", 12 * MS, 12 * MS, {"request": 1, "length": 9}),
                Event("pass", 13 * MS, 25 * MS, {"requests": 1, "verified": 3, "aliases": []}),
                Event("pass", 25 * MS, 26 * MS, {"requests": 2, "verified": 0, "aliases": []}),
            ),
        ),
    ]
)
TRACE = read_trace(CHROME)


def test_passes_of_one_request_are_costs_by_rows():
    assert pass_milliseconds(TRACE) == {4: [10.0, 12.0]}


def test_steps_are_costs_by_expanded_nodes():
    assert draft_milliseconds(TRACE) == {1: [1.0], 4: [3.0]}


def test_proposals_lead_from_a_step_to_its_pass():
    assert TRACE.proposals == (Proposal(step_ms=0.0, pass_ms=1.0),)


def test_marks_take_no_time():
    [mark] = TRACE.target.named("rollback")
    assert mark.start_ms == mark.end_ms == 11.0


def test_costs_of_several_traces_come_together_in_order_of_rows():
    assert merge([{8: [2.0]}, {4: [1.0], 8: [3.0]}]) == {4: [1.0], 8: [2.0, 3.0]}


def test_the_last_request_begins_with_the_targets_last_prefill():
    def events(start):
        step = Event("draft", start + 1 * MS, start + 2 * MS, {"rows": 1, "nodes": [(1, start)]})
        prefill = Event("prefill", start, start + 1 * MS, {"request": 1})
        aliases = [(7, 1, start), (7, 1, start - 10 * MS)]
        verified = Event(
            "pass", start + 2 * MS, start + 4 * MS, {"requests": 1, "verified": 1, "aliases": aliases}
        )
        return step, prefill, verified

    steps, prefills, passes = zip(*(events(start * MS) for start in (0, 10, 20)), strict=True)
    target = [item for pair in zip(prefills, passes, strict=True) for item in pair]
    chrome = chrome_trace([Track("draft 0", steps, incarnation=7), Track("target 0", tuple(target))])
    trace = read_trace(last_request(chrome))
    assert [lane.name for lane in trace.lanes] == ["draft 0", "target 0"]
    assert [item.start_ms for lane in trace.lanes for item in lane.slices] == [21.0, 20.0, 22.0]
    assert trace.proposals == (Proposal(step_ms=21.0, pass_ms=22.0),)
