"""What work costs is kept from one life of an engine to the next, and what became of that is said."""

from math import inf

from amusd import SamplingParams
from tests.engine.conftest import start_here


def test_both_workers_say_what_became_of_what_they_had_learned(monkeypatch, tmp_path, held_out):
    monkeypatch.setenv("AMUSD_COST_FILES", str(tmp_path))
    monkeypatch.setattr("amusd.policies.costs._CHANGE_MAX", inf)  # however busy the machine gets meanwhile
    seen = []
    for _ in range(3):
        with start_here("async", draft="demo-small", max_requests=1) as llm:
            seen.append([llm.info()[worker]["summary"] for worker in ("target", "draft 0")])
            llm.generate(held_out[0], SamplingParams(temperature=0, max_tokens=100, ignore_eos=True))
        if len(seen) == 2:
            for path in tmp_path.iterdir():
                path.write_text("{")
    for first, second, third in zip(*seen, strict=True):
        assert "costs" not in first
        assert "costs learned from" in second
        assert f"costs of passes in {tmp_path}" in third
