"""Every picture is written, is a PNG, and is not blank."""

import pytest
from matplotlib import image

from amusd.bench.charts import save, write_charts
from amusd.bench.summary import summarize
from amusd.bench.timeline import timeline
from amusd.bench.traces import read_trace
from amusd.tracing import Event, Track, chrome_trace
from tests.bench.recorded import recorded

MS = 1_000_000


def is_blank(path):
    pixels = image.imread(path)
    return bool((pixels == pixels[0, 0]).all())


def trace(passes=20):
    """A draft with two steps under each pass, of which the second is verified; every fifth rolls back."""
    steps, target = [], [Event("prefill", 0, 5 * MS, {"request": 1})]
    for number in range(passes):
        at = (10 + 10 * number) * MS
        for half in (0, 1):
            begin = at + half * 5 * MS
            steps.append(
                Event("draft", begin, begin + 4 * MS, {"rows": 1, "nodes": [(1, 2 * number + half)]})
            )
        aliases = [(7, 1, 2 * number - 1)] if number else []
        arguments = {"requests": 1, "verified": len(aliases), "aliases": aliases}
        target.append(Event("pass", at, at + 9 * MS, arguments))
        if number % 5 == 4:
            target.append(Event("rollback", at + 9 * MS, at + 9 * MS, {"request": 1, "length": 9}))
    return chrome_trace([Track("draft 0", tuple(steps), 7), Track("target 0", tuple(target))])


def test_every_chart_of_a_result_is_written(tmp_path):
    results = recorded()
    files = write_charts(results, summarize(results), tmp_path)
    assert [file.name for file in files] == [
        "throughput.png",
        "temperature.png",
        "cost.png",
        "acceptance.png",
    ]
    assert not any(map(is_blank, files))


def test_charts_without_their_numbers_are_left_out(tmp_path):
    results = recorded(pass_costs={}, ranks={})
    results.records = [record for record in results.records if record.temperature == 0]
    assert [file.name for file in write_charts(results, summarize(results), tmp_path)] == ["throughput.png"]


@pytest.mark.parametrize("passes", [1, 20, 400])
def test_the_timeline_is_written_however_short_or_long_the_trace(tmp_path, passes):
    path = tmp_path / "timeline.png"
    save(timeline(read_trace(trace(passes)), "title"), path)
    assert not is_blank(path)


def test_a_timeline_shows_two_seconds_from_the_first_pass_on():
    whole, close = timeline(read_trace(trace(400)), "title").axes
    assert whole.get_xlim() == (0.0, 2000.0)
    start, stop = close.get_xlim()
    assert stop - start == pytest.approx(250)
