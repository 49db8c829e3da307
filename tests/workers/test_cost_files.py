"""What passes cost outlives a worker; what cannot be read is said and learned afresh."""

import json
from pathlib import Path

import pytest

from amusd.policies.costs import CostCurve
from amusd.workers.cost_files import PASSES_MIN, SAVE_SECONDS, CostFile, folder

ABOUT = {"model": "demo", "device": "cpu:0"}


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("AMUSD_COST_FILES", str(tmp_path / "costs"))
    return tmp_path / "costs"


def made(passes=0, about=ABOUT):
    curve = CostCurve({4: 1.0, 8: 2.0})
    for _ in range(passes):
        curve.observe(4, 1, 3.0)
    return curve, CostFile(about, curve)


def test_a_curve_goes_on_in_the_next_life_and_in_no_other_ones(place):
    curve, file = made(100)
    assert not file.read()
    assert file.remark == "", "nothing is wrong with a first life"
    file.write()
    other, again = made()
    assert again.read()
    assert other.seconds(1, 8) == curve.seconds(1, 8)
    assert again.remark == "costs learned from 100 earlier passes"
    stranger, elsewhere = made(about=ABOUT | {"device": "cpu:1"})
    assert not elsewhere.read()
    assert stranger.seconds(1, 8) == 2.0
    stranger.observe(4, 1, 3.0)
    elsewhere.write()
    path, other_path = sorted(place.iterdir(), key=lambda each: "cpu:1" in each.read_text())
    other_path.write_text(path.read_text())
    assert not elsewhere.read()
    assert "it is about something else" in elsewhere.remark


def test_it_is_written_once_a_minute_when_there_is_news(place):
    curve, file = made()
    file.write_if_due(0.0)
    assert not place.exists(), "nothing was learned"

    def learn(count, now):
        for _ in range(count):
            curve.observe(4, 1, 3.0)
        file.write_if_due(now)
        found = list(place.glob("*"))
        return json.loads(found[0].read_text())["costs"]["passes"] if found else 0

    assert learn(PASSES_MIN - 1, 1.0) == 0
    assert learn(1, 2.0) == PASSES_MIN
    assert learn(1000, 2.0 + SAVE_SECONDS - 0.1) == PASSES_MIN
    assert learn(0, 2.0 + SAVE_SECONDS) == PASSES_MIN + 1000
    assert len(list(place.iterdir())) == 1, "no unfinished file is left"


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", b"\xff\xfe", '{"about": 1}', " " * 100_000, "null", "[" * 60_000],
    ids=["empty", "cut", "list", "nothing", "binary", "stranger", "huge", "null", "deep"],
)
def test_a_damaged_file_is_said_and_replaced(place, text):
    _, file = made(50)
    file.write()
    [path] = place.iterdir()
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    curve, again = made()
    assert not again.read()
    assert f"{path} are not used" in again.remark
    assert curve.seconds(1, 8) == 2.0
    curve.observe(4, 1, 3.0)
    again.write()
    assert made()[1].read()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [({"seconds": [1.0]}, "these are no costs of passes"), ({"passes": 10**400}, "int too large")],
)
def test_costs_of_a_damaged_curve_are_said_too(place, damage, reason):
    _, file = made(50)
    file.write()
    [path] = place.iterdir()
    values = json.loads(path.read_text())
    path.write_text(json.dumps(values | {"costs": values["costs"] | damage}))
    assert not (again := made()[1]).read()
    assert f"are not used ({reason}" in again.remark


def test_a_file_that_may_not_be_looked_at_stops_nothing(place, monkeypatch):
    def refuse(*arguments, **options):
        raise PermissionError("not yours")

    made(50)[1].write()
    monkeypatch.setattr(Path, "stat", refuse)
    again = made()[1]
    assert not again.read()
    assert "are not used (not yours)" in again.remark


def test_a_file_of_a_much_slower_machine_is_not_used(place):
    made(50)[1].write()
    curve = CostCurve({4: 20.0, 8: 40.0})
    file = CostFile(ABOUT, curve)
    assert not file.read()
    assert "are not used (a pass takes another time now)" in file.remark
    assert curve.seconds(1, 8) == 40.0


def test_a_folder_that_cannot_be_written_is_said_once_and_stops_nothing(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setenv("AMUSD_COST_FILES", str(tmp_path / "file"))
    curve, file = made(50)
    for _ in range(2):
        curve.observe(4, 1, 3.0)
        file.write()
    assert capsys.readouterr().err.count("set AMUSD_COST_FILES to a folder, or to off") == 1


def test_where_files_are(monkeypatch, tmp_path):
    monkeypatch.setenv("AMUSD_COST_FILES", "off")
    assert folder() is None
    _, file = made(50)
    file.write()
    assert not file.read()
    monkeypatch.delenv("AMUSD_COST_FILES")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert folder() == tmp_path / "amusd" / "costs"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert folder() == tmp_path / ".cache" / "amusd" / "costs"
