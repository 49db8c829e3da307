"""Tables, ratios and JSON of a small recorded result."""

import dataclasses
import io
import json

import pytest
from rich.console import Console

from amusd.bench.contenders import Variant
from amusd.bench.limits import HIDDEN, SYNCHRONOUS, cost_curve
from amusd.bench.results import digest_of, read_results
from amusd.bench.statistics import Spread
from amusd.bench.summary import Agreement, summarize
from amusd.bench.tables import render
from amusd.errors import InputError
from tests.bench.recorded import MACHINE, record, recorded


def row(summary, contender, temperature=0.0):
    [found] = [r for r in summary.rows if (r.contender, r.temperature) == (contender, temperature)]
    return found


def shown(results):
    output = io.StringIO()
    Console(file=output, width=250, highlight=False).print(render(results, summarize(results)))
    return output.getvalue()


def test_speed_is_all_tokens_over_all_seconds_of_a_repeat():
    fast = row(summarize(recorded()), "async")
    assert fast.tokens_per_second == Spread(7.5, 5.0, 10.0)  # 8 / 1.6 and 8 / 0.8
    assert fast.decode_tokens_per_second.median == pytest.approx(7.5)  # 6 / 1.2 and 6 / 0.6
    assert fast.first_ms == pytest.approx(150)


def test_decode_speed_leaves_the_first_tokens_and_their_time_out():
    results = recorded()
    results.records = [dataclasses.replace(r, first_tokens=2) for r in results.records]
    decode = row(summarize(results), "async").decode_tokens_per_second
    assert (decode.low, decode.high) == (pytest.approx(4 / 1.2), pytest.approx(4 / 0.6))


def test_a_contender_is_shown_with_its_best_draft_and_swept_with_all():
    summary = summarize(recorded())
    assert row(summary, "async").variant.draft == "demo-large"
    swept = [r.variant.draft for r in summary.sweep if (r.contender, r.temperature) == ("async", 0.0)]
    assert swept == ["demo-small", "demo-large"]


def test_ratios_are_paired_by_repeat():
    summary = summarize(recorded())
    assert row(summary, "sync").over_same == Spread(3.75, 2.5, 5.0)
    assert row(summary, "sync").over_equal == Spread(1.875, 1.25, 2.5)
    assert row(summary, "sync").over_alone == Spread(1.875, 1.25, 2.5)
    assert row(summary, "async").over_alone == Spread(2.5, 2.5, 2.5)


def test_without_its_baseline_a_ratio_is_absent():
    results = recorded()
    results.records = [r for r in results.records if r.variant != "transformers [all]"]
    assert row(summarize(results), "sync").over_equal is None


def test_a_comparison_is_with_the_best_of_its_group():
    found = {
        c.text: (c.denominator, c.ratio.median)
        for c in summarize(recorded()).comparisons
        if c.temperature == 0
    }
    assert found["async over the best of transformers, equal total devices"] == (
        "transformers-assisted, best k [all], demo-small, k=3",
        pytest.approx(2.0),
    )
    assert found["alone over transformers, same target devices"] == ("transformers [target]", 2.0)
    assert "async over pearl at its best k" not in found


def test_acceptance_and_length_are_over_all_runs():
    fast = row(summarize(recorded()), "async")
    assert fast.acceptance_rate == 0.5
    assert fast.tokens_per_pass == 2
    assert fast.overlap == 0.5
    assert row(summarize(recorded()), "alone [target]").acceptance_rate is None


def test_foreseen_corrections_and_acceptance_by_depth_are_over_all_runs():
    fast = row(summarize(recorded()), "async")
    assert fast.foreseen == 0.25
    assert fast.by_depth == [24 / 36, 12 / 24, None]  # of the third depth only 8 were verified
    plain = row(summarize(recorded()), "transformers [target]")
    assert (plain.foreseen, plain.by_depth) == (None, [])


def test_tuning_runs_are_not_measured():
    results = recorded()
    results.records.append(record(Variant("async", "demo-large"), 5, 0.0, 0, 1e-6, phase="tune"))
    assert row(summarize(results), "async").tokens_per_second.high == 10.0


def test_shares_are_of_the_best_hidden_rollback_bound():
    summary = summarize(recorded())
    bound = next(b for b in summary.bounds if (b.name, b.temperature) == (HIDDEN, 0.0))
    # Ranks [1 1 2 1], [1 5 1 1]; k = 2: passes [1 1 2] [1] and [1 5] [1 1], each max(10 + 2/3, 2 * 2) ms.
    limit = 8 / (4 * (0.010 + 0.002 / 3))
    assert (bound.bound.k, bound.draft) == (2, "demo-small")
    assert bound.bound.tokens_per_second == pytest.approx(limit)
    assert row(summary, "async").share == pytest.approx(7.5 / limit)


def test_every_bound_names_its_draft_and_k():
    found = {b.name: b for b in summarize(recorded()).bounds if b.temperature == 1.0}
    # Passes of 10 + k/3 ms and steps of 2: k = 2 commits 2 tokens in 14 2/3 ms, k = 1 only 8/5 in 12 1/3.
    assert (found[SYNCHRONOUS].bound.k, found[SYNCHRONOUS].draft) == (2, "demo-small")
    assert found[SYNCHRONOUS].bound.tokens_per_second == pytest.approx(2 / (0.010 + 0.002 / 3 + 0.004))


def test_rows_with_few_passes_are_no_point_of_the_cost_curve():
    curve = cost_curve(recorded())
    assert curve is not None
    assert curve.rows_max == 4


def test_without_costs_there_are_no_bounds():
    summary = summarize(recorded(pass_costs={}))
    assert summary.bounds == []
    assert row(summary, "async").share is None


def test_another_text_of_ours_is_a_defect_and_of_others_a_fact():
    results = recorded()
    results.records = [
        dataclasses.replace(r, digest=digest_of([0])) if r.prompt == 1 and r.repeat == 0 else r
        for r in results.records
    ]
    summary = summarize(results)
    assert row(summary, "transformers [target]").agreement == Agreement(3, 4)
    assert row(summary, "transformers [target]", 1.0).agreement is None
    assert row(summary, "async", 1.0).agreement == Agreement(3, 4)
    assert {r.contender for r in summary.differing} == {"alone [target]", "sync", "async"}
    assert "DIFFERENT TEXT from alone [target]: " in shown(results)
    assert "DIFFERS: 3 of 4" in shown(results)


def test_where_passes_cannot_agree_no_text_is_a_defect():
    results = recorded(exact=False)
    results.records = [dataclasses.replace(r, digest=digest_of([0])) for r in results.records]
    assert summarize(results).differing == []


def test_the_tables_show_every_contender_bound_draft_and_reason():
    text = shown(recorded())
    for wanted in (
        "transformers [target]",
        "transformers-assisted, best k [all]",
        "7.5 (5.0 to 10.0)",
        "cpu:0+cpu:1",
        "cpu:0 | cpu:1",
        "bound: hidden rollback",
        "async over sync at its best k",
        "pearl: not run: this version of amusd has no mode pearl",
        "ours wrote the token ids of alone [target] in every mode and repeat",
        "Test CPU (avx2)",
    ):
        assert wanted in text, wanted
    assert text.count("transformers [target]") == 3  # twice as a contender, once by kind of prompt
    assert "J" not in [cell.strip() for cell in text.splitlines()[4].split("  ")]


def test_energy_is_a_column_where_it_was_measured():
    results = recorded()
    results.records = [dataclasses.replace(r, joules=10.0) for r in results.records]
    assert row(summarize(results), "async").joules_per_token == 2.5
    assert "/token" in shown(results)
    assert "/token" not in shown(recorded())


def test_results_survive_json(tmp_path):
    results = recorded()
    path = tmp_path / "results.json"
    results.write(path, {"summary": summarize(results).to_dict()})
    assert read_results(path) == results
    plain = json.loads(path.read_text())
    assert plain["machine"] == MACHINE
    assert plain["summary"]["rows"][0]["tokens_per_second"]["median"] > 0


def test_results_of_another_format_are_refused(tmp_path):
    path = tmp_path / "results.json"
    path.write_text(json.dumps(recorded().to_dict() | {"format": 99}))
    with pytest.raises(InputError, match="this version reads results of format 1"):
        read_results(path)


@pytest.mark.parametrize("content", ["{", "[]", "1", '{"format": 1}'])
def test_a_damaged_file_is_refused(tmp_path, content):
    path = tmp_path / "results.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"results\.json: cannot be read .*; give what amusd bench wrote"):
        read_results(path)
