"""The Grafana dashboard asks for what the server tells."""

import json
import re
from dataclasses import replace
from pathlib import Path

from amusd.serving.metrics import ServerMetrics
from tests.cli.fakes import METRICS

DASHBOARD = Path(__file__).parents[2] / "cluster" / "grafana" / "amusd.json"


def told():
    """The names of all series of a server that has seen everything."""
    metrics = ServerMetrics("demo")
    metrics.on_refused("BusyError")
    metrics.on_first_token(0.1)
    metrics.on_tokens(3, 0.01)
    metrics.on_finished("stop", 1.0, replace(METRICS, depth_accepted=(2, 1)))
    metrics.on_aborted()
    metrics.on_admitted(5)
    metrics.on_links({"draft 0": 0.001}, {"draft 0": 0.5})
    metrics.on_overlap(0.5, 0.25)
    metrics.on_passes({"1 x 1 rows": 0.01}, 0.2, {"commit": 0.004})
    metrics.on_steps({"draft 0": {"1 x 1 rows": 0.001}})
    lines = metrics.render().decode().splitlines()
    return {re.match(r"[a-z_0-9:]+", line)[0] for line in lines if not line.startswith("#")}


def test_every_panel_asks_for_series_that_exist():
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    asked = {
        name
        for panel in panels
        for target in panel["targets"]
        for name in re.findall(r"(?:vllm:|amusd:|process_)[a-z_0-9]+", target["expr"])
    }
    assert len(asked) > 15
    assert asked - told() == set()


def test_panels_do_not_lie_on_each_other():
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(set(places)) == len(places)
