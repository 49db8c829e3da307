"""The command from end to end: real workers and processes, tiny settings. No time is asserted."""

import json

import pytest

from amusd.bench.machine import machine_facts
from amusd.bench.results import Record, Results, read_results
from amusd.cli import main

pytestmark = pytest.mark.timeout(400)  # starts six processes with models, two of which take every core

TOKENS = 6
FILES = {
    "results.json",
    "throughput.png",
    "temperature.png",
    "cost.png",
    "acceptance.png",
    "async.trace.json",
    "timeline.png",
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Folder, exit code and standard output of one run over two prompts of the caller's own."""
    folder = tmp_path_factory.mktemp("bench")
    prompts = folder / "prompts.jsonl"
    rows = [{"prompt": f"def add_{i}(a, b):\n", "kind": "code"} for i in range(3)]
    prompts.write_text("\n".join(map(json.dumps, rows)))
    capture = pytest.MonkeyPatch()
    capture.setenv("COLUMNS", "250")
    code = main(
        [
            *("bench", "--quick", "--contenders", "transformers,alone,async", "--dtype", "float32"),
            *("--widen", "0", "--draft", "demo-small", "--max-tokens", str(TOKENS), "--repeats", "1"),
            *("--prompts", str(prompts), "--num-prompts", "2", "--out", str(folder / "out")),
        ]
    )
    capture.undo()
    return folder / "out", code


@pytest.fixture(scope="module")
def results(finished):
    return read_results(finished[0] / "results.json")


def test_it_succeeds_and_writes_every_file(finished):
    folder, code = finished
    assert code == 0
    assert {file.name for file in folder.iterdir()} == FILES
    assert all(file.stat().st_size > 0 for file in folder.iterdir())


def test_ours_and_generate_wrote_the_same_tokens(results):
    digests = {}
    for record in results.records:
        if record.temperature == 0 or not record.variant.startswith("transformers"):
            digests.setdefault((record.temperature, record.prompt), set()).add(record.digest)
    assert len(digests) == 4
    assert all(len(found) == 1 for found in digests.values())


def test_every_contender_ran_once_at_each_temperature_on_each_prompt(results):
    runs = [(record.variant, record.temperature, record.prompt) for record in results.records]
    keys = [
        "transformers [target]",
        "transformers [all]",
        "alone [target]",
        "alone [all]",
        "async, demo-small",
    ]
    assert sorted(runs) == sorted((key, t, p) for key in keys for t in (0.0, 1.0) for p in (0, 1))
    assert {record.tokens for record in results.records} == {TOKENS}


def test_the_json_holds_every_field(finished, results):
    plain = json.loads((finished[0] / "results.json").read_text())
    assert set(plain) == {"format", "summary", *Results.__slots__}
    assert all(set(record) == set(Record.__slots__) for record in plain["records"])
    assert set(plain["machine"]) == set(machine_facts())
    assert set(plain["summary"]) == {
        *("rows", "sweep", "comparisons", "drafts", "bounds", "repeats", "temperatures"),
    }
    assert results.reference == "alone [target]"
    assert [len(ids) for ids in results.references[1.0]] == [TOKENS, TOKENS]
    assert [len(ranks) for ranks in results.ranks["demo-small"][0.0]] == [TOKENS, TOKENS]
    assert results.pass_costs[1]


def test_tables_and_pictures_can_be_made_again(finished, capsys):
    folder, _ = finished
    for picture in folder.glob("*.png"):
        picture.unlink()
    assert main(["bench", "--show", str(folder / "results.json")]) == 0
    assert {file.name for file in folder.iterdir()} == FILES
    assert "ours wrote the token ids of alone" in capsys.readouterr().out
