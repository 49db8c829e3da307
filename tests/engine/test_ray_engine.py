"""The same engine under Ray: two actors, a lookup beside them, the same bytes, nothing left behind."""

import psutil

from amusd import SamplingParams
from tests.engine.conftest import start


def test_ray_actors_write_the_bytes_that_the_target_alone_writes(alone, repeating):
    params = SamplingParams(temperature=1, seed=3, max_tokens=60, ignore_eos=True)
    wanted = alone.generate(repeating, params)
    with start("async", launcher="ray", draft=["demo-large", "prompt-lookup"]) as llm:
        outputs = llm.generate(repeating, params)
        pids = [details["pid"] for details in llm.info().values()]
        assert len(set(pids)) == 2
        assert all("ray::" in " ".join(psutil.Process(pid).cmdline()) for pid in pids)
    assert [output.token_ids for output in outputs] == [output.token_ids for output in wanted]
    drafted = {drafter.name: drafter.drafted for drafter in outputs[1].metrics.drafters}
    assert drafted.keys() == {"draft 0", "prompt-lookup"}
    assert all(drafted.values())
    assert outputs[0].metrics.acceptance_rate > 0
    assert not any(psutil.pid_exists(pid) for pid in pids)
