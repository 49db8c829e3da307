"""The same engine under Ray: two actors, a lookup beside them, the same bytes, nothing left behind."""

import json

import psutil

from amusd import SamplingParams
from tests.engine.conftest import start

DRAWN = SamplingParams(temperature=1, seed=3, max_tokens=60, ignore_eos=True)


def test_ray_actors_write_the_bytes_that_the_target_alone_writes(alone, repeating):
    wanted = alone.generate(repeating, DRAWN)
    with start("async", launcher="ray", draft=["demo", "phrases"]) as llm:
        outputs = llm.generate(repeating, DRAWN)
        pids = [details["pid"] for details in llm.info().values()]
        assert len(set(pids)) == 2
        assert all("ray::" in " ".join(psutil.Process(pid).cmdline()) for pid in pids)
    assert [output.token_ids for output in outputs] == [output.token_ids for output in wanted]
    drafted = {drafter.name: drafter.drafted for drafter in outputs[1].metrics.drafters}
    assert drafted.keys() == {"draft 0", "phrases"}
    assert drafted["draft 0"] > 0
    assert outputs[0].metrics.acceptance_rate > 0
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_a_rule_that_needs_q_is_followed_under_ray(alone, repeating, monkeypatch, tmp_path):
    monkeypatch.setenv("AMUSD_COST_FILES", str(tmp_path))
    greedy = DRAWN.model_copy(update={"temperature": 0.0})
    wanted = alone.generate(repeating[0], greedy)[0]
    with start("async", launcher="ray", rule="rrsw") as llm:
        assert llm.info()["target"]["rule"] == "rrsw"
        outputs = llm.generate([repeating[0]] * 2, [greedy, DRAWN])
    assert outputs[0].token_ids == wanted.token_ids
    assert [(len(output.token_ids), output.finish_reason) for output in outputs] == [(60, "length")] * 2
    assert all(output.metrics.drafted > 0 for output in outputs)
    kept = [json.loads(path.read_text(encoding="utf-8")) for path in tmp_path.glob("*.json")]
    learned_from = {file["about"].get("role", "target"): file["costs"]["passes"] for file in kept}
    assert learned_from["target"] >= max(output.metrics.passes for output in outputs), "actors end in order"
    assert learned_from["draft"] > 0
