"""`amusd bench`: its help, its errors, and what becomes of a run."""

import dataclasses
import sys

import pytest

from amusd.bench.experiment import Outcome
from amusd.bench.results import digest_of
from amusd.cli import main
from tests.bench.load.recorded import recorded as recorded_load
from tests.bench.load.recorded import request, run
from tests.bench.recorded import recorded


@pytest.fixture
def benchmark(monkeypatch, tmp_path):
    """Runs the command on results that are there already; the settings that it was given can be read off."""
    given = []

    def run(results, *options):
        def pretend(settings, progress, keep):
            given.append(settings)
            progress.begin("measuring", 1)
            progress.step("async")
            return Outcome(results, None)

        monkeypatch.setattr("amusd.cli.bench.run_experiment", pretend)
        code = main(["bench", "--out", str(tmp_path / "out"), *options])
        return code, given[-1] if given else None

    return run


def test_the_help_teaches(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["bench", "--help"]) == 0
    text = capsys.readouterr().out
    for wanted in ("amusd bench --quick", "benchmarks/README.md", "--contenders", "--show", "Spec-Bench"):
        assert wanted in text


def test_options_become_settings(benchmark):
    _, settings = benchmark(
        recorded(),
        *("--quick", "--temperatures", "0,0.5", "--ks", "2,4", "--draft", "demo-small", "--draft", "demo"),
        *("--contenders", "alone, async", "--repeats", "3"),
    )
    assert settings.temperatures == (0.0, 0.5)
    assert settings.ks == (2, 4)
    assert settings.drafts == ("demo-small", "demo")
    assert settings.contenders == ("alone", "async")
    assert settings.repeats == 3


def test_options_become_settings_of_a_load(monkeypatch, tmp_path):
    given = []

    def pretend(settings, progress, keep):
        given.append(settings)
        keep(recorded_load())
        assert (tmp_path / "load.json").exists()
        return recorded_load()

    monkeypatch.setattr("amusd.cli.load_bench.run_load", pretend)
    monkeypatch.setattr("amusd.cli.load_bench.write_charts", lambda results, folder: [])
    options = ["--rates", "0.5,8", "--arrivals", "bursts", "--requests", "5", "--seconds", "2.5"]
    assert main(["bench", "--load", "--draft", "demo-small", *options, "--out", str(tmp_path)]) == 0
    assert (given[0].rates, given[0].arrivals, given[0].requests) == ((0.5, 8.0), "bursts", 5)
    assert (given[0].draft, given[0].seconds, given[0].max_requests) == ("demo-small", 2.5, 32)
    shown = ["bench", "--load", "--show", str(tmp_path / "load.json")]
    assert main(shown) == 0
    results = recorded_load()
    results.runs[0] = run("alone", 0.5, requests=(request(exact=False),))
    results.write(tmp_path / "load.json")
    assert main(shown) == 1


def test_a_run_prints_its_tables_and_progress_and_succeeds(benchmark, capsys):
    code, _ = benchmark(recorded())
    output, error = capsys.readouterr()
    assert code == 0
    assert "async over sync at its best k" in output
    assert "measuring: 1 steps" in error


def test_another_text_of_ours_fails_after_everything_was_written(benchmark, tmp_path):
    results = recorded()
    results.records = [
        dataclasses.replace(record, digest=digest_of([0])) if record.variant.startswith("async") else record
        for record in results.records
    ]
    code, _ = benchmark(results)
    assert code == 1
    assert (tmp_path / "out" / "results.json").exists()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--temperatures", "0,warm"], "--temperatures: 0,warm: give numbers with commas between"),
        (["--ks", "1,2.5"], "--ks: 1,2.5: give whole numbers with commas between"),
        (["--repeats", "0"], "--repeats: 0"),
        (["--rates", "1"], "--rates: 1: only --load has it"),
        (["--profile"], "--profile: True: only --load has it"),
        (["--load", "--live", "4,few"], "--live: 4,few: give whole numbers with commas between"),
        (["--load", "--rates", "1,fast"], "--rates: 1,fast: give numbers with commas between"),
        (["--load", "--contenders", "pearl"], "--contenders: pearl"),
        (["--load", "--show", "missing.json"], "results: missing.json: cannot be read"),
        (["--show", "missing.json"], "results: missing.json: cannot be read"),
        (["--nonsense"], "see amusd bench --help"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(options, complaint, capsys):
    assert main(["bench", *options]) == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert error.count("\n") == 1


def test_a_folder_that_cannot_be_made_is_refused_before_anything_runs(benchmark, tmp_path, capsys):
    (tmp_path / "out").write_text("a file")
    code, settings = benchmark(recorded())
    assert (code, settings) == (2, None)
    assert "--out" in capsys.readouterr().err


def test_without_matplotlib_the_remedy_is_named(monkeypatch, capsys):
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("amusd.cli.bench", "amusd.bench.charts", "amusd.bench.timeline"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.delattr("amusd.cli.bench", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["bench"]) == 1
    assert "pip install 'amusd[bench]'" in capsys.readouterr().err
