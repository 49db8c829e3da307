"""Tables, pictures and JSON of a load benchmark."""

import pytest
from matplotlib import image
from rich.console import Console

from amusd.bench.load.charts import write_charts
from amusd.bench.load.results import read_load_results
from amusd.bench.load.runs import Request
from amusd.bench.load.tables import render
from amusd.cli.load_bench import show_again
from amusd.errors import InputError
from tests.bench.load.recorded import RIVAL, held, recorded, request, run


def text_of(results, width=200):
    console = Console(width=width, record=True, file=None, highlight=False)
    with console.capture() as captured:
        console.print(render(results))
    return captured.get()


def test_the_json_reads_back_as_it_was(tmp_path):
    path = tmp_path / "load.json"
    recorded().write(path)
    assert read_load_results(path) == recorded(settings=read_load_results(path).settings)


def test_all_drafts_are_named_and_of_results_from_before_there_were_lookups_the_model():
    assert "draft demo-large, prompt-lookup;" in " ".join(text_of(recorded()).split())
    before = {name: value for name, value in recorded().settings.items() if name != "lookups"}
    assert "draft demo-large;" in " ".join(text_of(recorded(settings=before)).split())


@pytest.mark.parametrize("content", ["{", "[]", '{"format": 1}', '{"format": "load 2"}'])
def test_another_file_is_refused(tmp_path, content):
    path = tmp_path / "load.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"load\.json: cannot be read"):
        read_load_results(path)


def test_what_is_shown_again_is_written_nowhere_else(tmp_path):
    path = tmp_path / "mine.json"
    recorded().write(path)
    before = path.read_text()
    assert show_again(path) == 0
    assert path.read_text() == before
    assert not (tmp_path / "load.json").exists()
    assert {file.suffix for file in tmp_path.iterdir()} == {".json", ".png"}


def test_tables_have_a_row_for_every_contender_and_say_who_is_ahead():
    shown = text_of(recorded())
    assert "0.5 requests/s offered" in shown
    assert "4 requests/s offered" in shown
    assert shown.count("fixed k=3") == 2 * 2 + 1 + 2 * 2, "its rows, and it is the best of the others"
    assert "all 54 answers of amusd are those of alone" in shown, "12 runs of two, 6 closed loops of five"


def test_no_row_wraps_at_120_columns():
    wide, narrow = (
        [
            line.split()
            for line in map(str.strip, text_of(recorded(), width).splitlines())
            if line.startswith(("alone  ", "goodput  ", f"{RIVAL} "))
        ]
        for width in (400, 120)
    )
    assert narrow == wide
    assert len(wide) == 3 * (2 + 2 + 1), "speeds and passes at each of two rates, and one closed loop"


def test_what_a_rival_writes_is_a_fact_and_no_judgement():
    results = recorded()
    results.runs[-1] = run(RIVAL, 4.0, 1, requests=(request(exact=False),))
    assert results.different() == []
    assert "1 of 2" in text_of(results)


def test_a_closed_loop_says_when_a_text_differs():
    assert recorded(held=[held("goodput", different=1)]).different() == ["goodput"]


def test_the_table_s_choices_are_shown_beside_what_was_measured():
    lines = [line.split() for line in text_of(recorded()).splitlines()]
    assert ["1", "3", "30.0", "50.0"] in lines
    assert ["8", "0", "90.0", "80.0"] in lines


def test_tables_say_when_a_text_differs():
    runs = [run("goodput", 4.0, 0, requests=(request(), request(1, exact=False)))]
    shown = text_of(recorded(runs=runs))
    assert "DIFFERS: 1 of 2" in shown
    assert "DIFFERENT TEXT from the target alone: goodput" in shown


def test_every_picture_is_written_and_not_blank_also_where_nothing_was_finished(tmp_path):
    nothing = run("fixed k=3", 4.0, 0, requests=(Request(0, arrival=0.0),))
    for results in (recorded(), recorded(runs=[nothing])):
        files = write_charts(results, tmp_path)
        names = ["load-goodput.png", "load-latency.png", "load-first-token.png", "load-per-token.png"]
        assert [file.name for file in files] == names
        for file in files:
            pixels = image.imread(file)
            assert not (pixels == pixels[0, 0]).all()
