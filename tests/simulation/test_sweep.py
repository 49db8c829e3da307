"""Sweeps: every combination, with the same seeds, in a table that a spreadsheet reads."""

import csv

import pytest

from amusd.errors import AmusdError, InputError
from amusd.simulation import simulate
from amusd.simulation.pictures import draw_sweep, draw_timeline
from amusd.simulation.sweep import Axis, parse_axis, parse_setting, sweep, write_csv
from tests.simulation.scenarios import scenario

AXES = (Axis("network.latency_ms", (0.0, 5.0)), Axis("mode", ("sync", "async")))
PNG = b"\x89PNG"


def test_a_sweep_runs_every_combination_with_the_same_seeds():
    told = []
    of = scenario(output_tokens=40)
    points = sweep(of, AXES, 2, told.append)
    assert [point.values for point in points] == [
        (0.0, "sync"),
        (0.0, "async"),
        (5.0, "sync"),
        (5.0, "async"),
    ]
    last = of.with_value("network.latency_ms", 5.0)
    rates = [simulate(last.with_value("seed", seed)).result.tokens_per_second for seed in (0, 1)]
    assert points[-1].tokens_per_second == pytest.approx(sum(rates) / 2)
    assert points[-1].spread == pytest.approx(abs(rates[0] - rates[1]) / 2**0.5)
    assert points[-1].alone_tokens_per_second == 100.0
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_without_an_axis_there_is_one_point():
    (point,) = sweep(scenario(output_tokens=40, mode="alone"), (), 1, lambda share: None)
    assert (point.values, point.spread, point.speedup) == ((), 0.0, 1.0)


def test_a_wrong_value_is_found_before_anything_runs(monkeypatch):
    monkeypatch.setattr("amusd.simulation.sweep.simulate", lambda scenario: pytest.fail("it ran"))
    with pytest.raises(InputError, match="mode: fast"):
        sweep(scenario(), [Axis("mode", ("sync", "fast"))], 1, lambda share: None)
    with pytest.raises(InputError, match="at most 2"):
        sweep(scenario(), [*AXES, Axis("seed", (0,))], 1, lambda share: None)


@pytest.mark.parametrize("text", ["mode", "=3", "mode=", ""])
def test_a_setting_is_a_name_and_a_value(text):
    with pytest.raises(InputError, match="NAME=VALUE"):
        parse_setting(text, "--set")


def test_values_are_read_as_yaml_reads_them():
    assert parse_axis("network.latency_ms=0.05,2") == Axis("network.latency_ms", (0.05, 2))
    assert parse_axis("mode=sync,async").values == ("sync", "async")


def test_a_table_has_a_row_for_each_point(tmp_path):
    points = sweep(scenario(output_tokens=40), AXES, 1, lambda share: None)
    write_csv(tmp_path / "result.csv", AXES, points)
    with (tmp_path / "result.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["mode"] for row in rows] == ["sync", "async"] * 2
    assert float(rows[0]["tokens_per_second"]) == points[0].tokens_per_second


def test_pictures_are_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    points = sweep(scenario(output_tokens=40), AXES, 2, lambda share: None)
    draw_sweep(tmp_path / "two.png", "test", AXES, points)
    draw_sweep(tmp_path / "one.png", "test", AXES[:1], points[::2])
    draw_timeline(tmp_path / "timeline.png", "test", simulate(scenario(output_tokens=40)).tracks, 0.0, 100.0)
    assert all(path.read_bytes().startswith(PNG) for path in tmp_path.glob("*.png"))
    assert len(list(tmp_path.glob("*.png"))) == 3


def test_without_matplotlib_a_picture_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(AmusdError, match=r"amusd\[bench\]"):
        draw_timeline(tmp_path / "x.png", "test", simulate(scenario(output_tokens=20)).tracks, 0.0, 1.0)
