"""`amusd simulate` from the command line."""

import json
from pathlib import Path

import pytest

from amusd.cli import main

SHORT = ("--set", "output_tokens=40", "--repeats", "1")
SMALL_LOAD = {
    "ks": [1],
    "batches": [2],
    "batch_tokens": 10,
    "tokens_min": 60,
    "loads": [0.5],
    "requests": 6,
    "output_tokens": 8,
}
LOAD = ("--load", *(part for name, value in SMALL_LOAD.items() for part in ("--set", f"load.{name}={value}")))


def test_a_scenario_is_shown_as_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", *SHORT]) == 0
    shown = capsys.readouterr().out
    assert "two-cores" in shown
    assert "tokens/s" in shown
    assert max(map(len, shown.splitlines()[1:])) <= 80


def test_the_same_seed_prints_the_same_json(capsys: pytest.CaptureFixture[str]) -> None:
    def printed(seed: int) -> str:
        assert main(["simulate", *SHORT, "--seed", str(seed), "--json"]) == 0
        return capsys.readouterr().out

    assert printed(3) == printed(3) != printed(4)
    found = json.loads(printed(3))
    assert found["scenario"]["seed"] == 3
    assert found["points"][0]["tokens_per_second"] > 0


def test_a_folder_holds_numbers_pictures_and_the_scenario_again(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    assert main(["simulate", *SHORT, "--out", str(tmp_path / "run")]) == 0
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert left == {"scenario.json", "result.json", "result.csv", "timeline.png", "run.trace.json"}
    again = ["simulate", "--scenario", str(tmp_path / "run" / "scenario.json"), "--repeats", "1", "--json"]
    capsys.readouterr()
    assert main(again) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "run" / "result.json").read_text())


def test_a_sweep_leaves_a_picture(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    axes = ("--sweep", "network.latency_ms=0.1,5", "--sweep", "mode=sync,async")
    assert main(["simulate", *SHORT, *axes, "--out", str(tmp_path)]) == 0
    assert (tmp_path / "sweep.png").exists()
    assert len(capsys.readouterr().out.splitlines()) == 1 + 1 + 4 + 1


def test_load_is_shown_as_tables(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", *LOAD]) == 0
    shown = capsys.readouterr().out
    assert "load-70b-1b: " in shown
    assert all(word in shown for word in ("alone", "k=1", "goodput", "best", "mean latency, ms"))
    assert max(map(len, shown.splitlines()[1:-1])) <= 80


def test_under_load_a_table_of_fixed_numbers_takes_part_and_is_shown(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    assert main(["simulate", *LOAD, "--set", "load.ways=[fixed]", "--out", str(tmp_path)]) == 0
    assert "table, drafted tokens for so many requests: 1 for 2" in capsys.readouterr().out
    assert json.loads((tmp_path / "load.json").read_text())["policy_table"] == {"2": 1}


def test_load_leaves_numbers_and_charts_that_are_those_it_prints(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    assert main(["simulate", *LOAD, "--seed", "5", "--out", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {path.name for path in tmp_path.iterdir()} == {"load.json", "load-batches.png", "load-rates.png"}
    assert json.loads((tmp_path / "load.json").read_text()) == found
    assert found["scenario"]["seed"] == 5
    assert [item["contender"] for item in found["batches"]] == ["alone", "sync k=1", "goodput"]


def test_shipped_scenarios_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--list"]) == 0
    assert "llama-70b-8b: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--set", "network.latenc_ms=3"), "did you mean network.latency_ms?"),
        (("--sweep", "mode"), "give NAME=VALUE"),
        (("--repeats", "0"), "--repeats: 0"),
        (("--scenario", "nowhere.yaml"), "nowhere.yaml"),
        (("--out", "/dev/null/x"), "--out"),
        (("--load",), "--repeats: 1: --load sweeps batches and rates"),
        (("--set", "load.batches=[0]"), "load.batches.0: 0: "),
        (("--set", "target.curve.points=[]"), "target.curve.points: []: "),
        (("--set", "policy=table"), "policy_table: (not given)"),
    ],
)
def test_a_wrong_option_is_one_line_and_code_two(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulate", *SHORT, *arguments]) == 2
    assert message in capsys.readouterr().err
