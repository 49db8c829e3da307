"""The same engine under Ray: two actors, the same bytes, nothing left behind."""

import psutil

from amusd import SamplingParams
from tests.engine.conftest import start


def test_ray_actors_write_the_bytes_that_the_target_alone_writes(alone, held_out):
    params = SamplingParams(temperature=1, seed=3, max_tokens=60, ignore_eos=True)
    wanted = alone.generate(held_out[:2], params)
    with start("async", launcher="ray") as llm:
        outputs = llm.generate(held_out[:2], params)
        pids = [details["pid"] for details in llm.info().values()]
        assert len(set(pids)) == 2
        assert all("ray::" in " ".join(psutil.Process(pid).cmdline()) for pid in pids)
    assert [output.token_ids for output in outputs] == [output.token_ids for output in wanted]
    assert outputs[0].metrics.acceptance_rate > 0
    assert not any(psutil.pid_exists(pid) for pid in pids)
