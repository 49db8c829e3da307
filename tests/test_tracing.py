"""Overlap by its definition, and a trace that says which pass verified which proposal."""

from hypothesis import given
from hypothesis import strategies as st

from amusd.tracing import EVENTS_MAX, Event, Recorder, Track, chrome_trace, committed_drafts, overlap_ns


def slices(*spans, name="pass"):
    return [Event(name, start, end, {}) for start, end in spans]


def test_overlap_counts_the_time_in_which_both_compute():
    left = slices((0, 10), (20, 30))
    right = slices((5, 22), (25, 26))
    assert overlap_ns(left, right, 0, 100) == 5 + 2 + 1
    assert overlap_ns(left, right, 8, 21) == 2 + 1
    assert overlap_ns(left, [], 0, 100) == 0


@st.composite
def disjoint(draw):
    points = sorted(draw(st.lists(st.integers(0, 60), unique=True, max_size=12)))
    return slices(*zip(points[::2], points[1::2], strict=False))


@given(disjoint(), disjoint(), st.integers(0, 60), st.integers(0, 60))
def test_overlap_equals_counting_every_nanosecond(left, right, start, end):
    def busy(side, moment):
        return any(event.start_ns <= moment < event.end_ns for event in side)

    counted = sum(busy(left, t) and busy(right, t) for t in range(start, end))
    assert overlap_ns(left, right, start, end) == counted


def test_a_draft_slice_is_useful_when_one_of_its_nodes_was_committed():
    drafts = [
        Event("draft", 0, 5, {"nodes": [(1, 10), (1, 11)]}),
        Event("draft", 5, 9, {"nodes": [(1, 12)]}),
        Event("draft", 9, 12, {"nodes": [(2, 10)]}),
    ]
    commit = Event("committed", 20, 20, {"committed": [(1, 11), (2, 99)]})
    assert committed_drafts(Track("draft 0", (*drafts, commit))) == drafts[:1]


def test_a_recorder_forgets_nothing_recent_and_returns_it_in_order():
    recorder = Recorder()
    start = recorder.now_ns()
    recorder.record("draft", start, rows=1)
    middle = recorder.now_ns()
    recorder.mark("rollback", request=3)
    assert [event.name for event in recorder.since(0)] == ["draft", "rollback"]
    assert [event.name for event in recorder.since(middle)] == ["rollback"]
    assert recorder.since(recorder.now_ns() + 1) == []


def test_a_slice_that_had_begun_belongs_to_what_was_done_since():
    recorder = Recorder()
    start = recorder.now_ns()
    middle = recorder.now_ns()
    recorder.record("pass", start)
    assert middle > start
    assert [event.name for event in recorder.since(middle)] == ["pass"]


def test_a_recorder_holds_the_newest_events_only():
    recorder = Recorder()
    for number in range(EVENTS_MAX + 5):
        recorder.mark("rollback", number=number)
    kept = [event.arguments["number"] for event in recorder.since(0)]
    assert kept == list(range(5, EVENTS_MAX + 5))


def test_the_trace_draws_an_arrow_from_a_proposal_to_the_pass_that_verified_it():
    draft = Track("draft 0", (Event("draft", 1_000, 3_000, {"rows": 1, "nodes": [(1, 7)]}),), 99)
    target = Track(
        "target",
        (
            Event("pass", 4_000, 9_000, {"verified": 1, "aliases": [(99, 1, 7), (98, 1, 7)]}),
            Event("rollback", 9_000, 9_000, {"request": 1}),
        ),
    )
    rows = chrome_trace([draft, target])["traceEvents"]
    shapes = {(row["ph"], row["pid"], row["name"]): row for row in rows}
    assert shapes["X", 0, "draft"]["ts"] == 0
    assert shapes["X", 0, "draft"]["dur"] == 2
    assert shapes["X", 1, "pass"]["ts"] == 3
    assert shapes["i", 1, "rollback"]["ts"] == 8
    start, end = shapes["s", 0, "proposal"], shapes["f", 1, "proposal"]
    assert start["id"] == end["id"]
    assert (start["ts"], end["ts"]) == (0, 3)


def test_an_arrow_begins_at_the_drafter_whose_incarnation_proposed_the_node():
    proposed = {"nodes": [(1, 7)]}  # both call their node so
    first = Track("draft 0", (Event("draft", 1_000, 2_000, proposed),), 98)
    second = Track("draft 1", (Event("draft", 5_000, 6_000, proposed),), 99)
    target = Track("target", (Event("pass", 7_000, 9_000, {"aliases": [(98, 1, 7)]}),))
    arrows = [row for row in chrome_trace([first, second, target])["traceEvents"] if row["ph"] == "s"]
    assert [(row["pid"], row["ts"]) for row in arrows] == [(0, 0)]


def test_an_instant_keeps_what_it_says_and_is_no_slice():
    track = Track("target", (Event("pass", 5, 9, {}), Event("pass", 9, 9, {"length": 4})))
    assert track.slices("pass") == [track.events[0]]
    [instant] = [row for row in chrome_trace([track])["traceEvents"] if row["ph"] == "i"]
    assert instant["args"] == {"length": 4}


def test_events_move_with_the_clock_of_their_process():
    assert Event("pass", 100, 200, {}).shifted(60) == Event("pass", 40, 140, {})
