import pytest

from amusd.errors import DeviceError, InputError, ModelError, ProtocolError, WorkerError
from amusd.launchers.base import Backoff
from amusd.launchers.report import Failed, Ready, format_report, parse_report


@pytest.mark.parametrize("report", [Ready("127.0.0.1:5", 7), Failed("ModelError", "gone", ["gone"])])
def test_a_report_survives_its_line(report):
    line = format_report(report)
    assert line.count("\n") == 1
    assert parse_report(line) == report


@pytest.mark.parametrize(
    "line", ["", "AMUSD_READY", "AMUSD_READY {}", 'AMUSD_READY {"x": 1}', "hello", "AMUSD_FAILED 3"]
)
def test_anything_else_is_refused(line):
    with pytest.raises(WorkerError, match="AMUSD_READY or AMUSD_FAILED was expected"):
        parse_report(line)


@pytest.mark.parametrize(
    "error",
    [ModelError("no such model"), InputError("dtype", "x", "y"), DeviceError("device", ("a", 1), "y")],
)
def test_what_the_caller_can_mend_keeps_its_type_and_words(error):
    again = parse_report(format_report(Failed.from_exception(error))).exception("draft worker 0")
    assert type(again) is type(error)
    assert str(again) == str(error)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ProtocolError("bad\nframe"), "draft worker 0 could not start: bad frame"),
        (KeyError("x"), "draft worker 0 could not start: KeyError: 'x'"),
        (MemoryError(), "draft worker 0 could not start: MemoryError"),
    ],
)
def test_everything_else_is_a_worker_error(error, message):
    again = Failed.from_exception(error).exception("draft worker 0")
    assert type(again) is WorkerError
    assert str(again) == message


def test_restarts_slow_down_with_early_deaths_and_start_over_after_a_long_life():
    backoff = Backoff()
    delays = [backoff.delay_seconds(lived_seconds=0.0) for _ in range(12)]
    assert delays[:4] == [0.1, 0.2, 0.4, 0.8]
    assert delays[-1] == 10.0
    assert backoff.delay_seconds(lived_seconds=3600.0) == 0.1
