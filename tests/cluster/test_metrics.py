"""What a server counts is among the metrics that Ray exports on its node."""

import time
import urllib.request

import pytest
import ray

from amusd.launchers.ray_metrics import RayMetrics
from amusd.serving.metrics import ServerMetrics

pytestmark = pytest.mark.timeout(300)
SECONDS_MAX = 60.0


def exported(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return answer.read().decode()


def values(text, name):
    return [float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name + "{")]


def test_counters_and_gauges_of_a_server_are_among_rays_metrics(cluster):
    metrics = ServerMetrics("demo")
    ray.init(address=cluster.address)
    try:
        told, here = RayMetrics(), ray.get_runtime_context().get_node_id()
        [port] = [node["MetricsExportPort"] for node in ray.nodes() if node["NodeID"] == here]
        for prompt in (3, 4):
            metrics.on_admitted(prompt)
            metrics.running.set(prompt)
            metrics.repeat(told)
        until, found = time.monotonic() + SECONDS_MAX, ""
        while time.monotonic() < until and not (
            values(found, "ray_vllm_prompt_tokens_total") == [7]
            and values(found, "ray_vllm_num_requests_running") == [4]
        ):
            time.sleep(0.5)
            found = exported(port)
    finally:
        ray.shutdown()
    assert values(found, "ray_vllm_prompt_tokens_total") == [7]
    assert values(found, "ray_vllm_num_requests_running") == [4]
