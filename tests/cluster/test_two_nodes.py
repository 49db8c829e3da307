"""A real cluster of two nodes on this machine: the target on one, the draft on the other."""

import contextlib

import psutil
import pytest
import ray

from amusd import LLM, SamplingParams
from tests.cluster.conftest import CORES, NODE

pytestmark = pytest.mark.timeout(300)
PROMPTS = ["def add(a, b):", "class Queue:\n    def __init__(self):"]
PARAMS = SamplingParams(temperature=1, seed=3, max_tokens=40, ignore_eos=True)


def raylet_of(pid):
    """The daemon of the node that a worker's process belongs to."""
    return next(it.pid for it in psutil.Process(pid).parents() if it.name() == "raylet")


@contextlib.contextmanager
def another_node(cluster):
    """Not for longer than it takes: two nodes of one machine share the folders of jobs, and clear them."""
    node = cluster.add_node(**NODE)
    try:
        cluster.wait_for_nodes()
        yield
    finally:
        cluster.remove_node(node)


def test_target_and_draft_on_different_nodes_write_the_bytes_of_the_target_alone(cluster):
    target, draft = f"cpu:{CORES[0]}", f"cpu:{CORES[-1]}"
    with LLM(target="demo", mode="alone", launcher="inprocess", target_devices=target) as alone:
        wanted = alone.generate(PROMPTS, PARAMS)
    places = {"target_devices": target, "draft_devices": draft, "ray_address": cluster.address}
    with another_node(cluster), LLM(target="demo", draft="demo-large", **places) as llm:
        outputs = llm.generate(PROMPTS, PARAMS)
        pids = [details["pid"] for details in llm.info().values()]
        assert sum(node["Alive"] for node in ray.nodes()) == 2
        assert len({raylet_of(pid) for pid in pids}) == 2
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert [output.token_ids for output in outputs] == [output.token_ids for output in wanted]
    assert outputs[0].metrics.acceptance_rate > 0
