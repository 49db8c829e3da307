"""What a server tells of its workers, as they say it themselves."""

import asyncio
from types import SimpleNamespace

from amusd.coordinator.session import WorkerState
from amusd.serving.metrics import ServerMetrics
from amusd.serving.statistics import Statistics

STATES = {
    "target": WorkerState({"nodes": 3}, {"1 x 1 rows": 0.02, "4 x 8 rows": 0.05}, 0.25, {"commit": 0.004}),
    "draft 0": WorkerState({"nodes": 3, "window": 12}, {"1 x 1 rows": 0.002}),
    "draft 1": WorkerState({"nodes": 0, "window": 0}, {}),
}


def test_learned_costs_and_the_price_of_a_node_are_gauges():
    async def states():
        return dict(STATES)

    metrics = ServerMetrics("demo")
    coordinator = SimpleNamespace(sessions=[], target=SimpleNamespace(name="target"), states=states)
    desk = SimpleNamespace(metrics=metrics, inside=0)
    asyncio.run(Statistics(desk, coordinator, 1.0).look())
    told = {line for line in metrics.render().decode().splitlines() if line.startswith("amusd:")}
    assert told >= {
        'amusd:pass_seconds{model_name="demo",shape="1 x 1 rows"} 0.02',
        'amusd:pass_seconds{model_name="demo",shape="4 x 8 rows"} 0.05',
        'amusd:draft_step_seconds{model_name="demo",shape="1 x 1 rows",worker="draft 0"} 0.002',
        'amusd:draft_wait_seconds{after="commit",model_name="demo"} 0.004',
        'amusd:node_price{model_name="demo"} 0.25',
        'amusd:window_use_ratio{model_name="demo",worker="draft 0"} 0.25',
    }
    assert not [line for line in told if "step_seconds" in line and "draft 1" in line]
