"""Tables, pictures and JSON of a load benchmark."""

import pytest
from matplotlib import image
from rich.console import Console

from amusd.bench.load.charts import write_charts
from amusd.bench.load.results import read_load_results
from amusd.bench.load.runs import Request
from amusd.bench.load.tables import render
from amusd.errors import InputError
from tests.bench.load.recorded import recorded, request, run


def text_of(results):
    console = Console(width=200, record=True, file=None, highlight=False)
    with console.capture() as captured:
        console.print(render(results))
    return captured.get()


def test_the_json_reads_back_as_it_was(tmp_path):
    path = tmp_path / "load.json"
    recorded().write(path)
    assert read_load_results(path) == recorded(settings=read_load_results(path).settings)


@pytest.mark.parametrize("content", ["{", '{"format": 1}'])
def test_another_file_is_refused(tmp_path, content):
    path = tmp_path / "load.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"load\.json: cannot be read"):
        read_load_results(path)


def test_tables_have_a_row_for_every_contender_and_say_who_is_ahead():
    shown = text_of(recorded())
    assert "0.5 requests/s offered" in shown
    assert "4 requests/s offered" in shown
    assert shown.count("fixed k=3") == 2 + 2 * 2, "a row a rate, and it is the best of the others"
    assert "all 24 answers are those of alone" in shown


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
