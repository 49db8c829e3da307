"""A scenario with round numbers, to be changed value by value."""

from typing import Any

from amusd.simulation import Scenario

PASS_MS, STEP_MS = 10.0, 1.0


def scenario(**changes: Any) -> Scenario:
    """Flat curves, no latency, no overhead; `network__latency_ms=2` changes `network.latency_ms`."""
    flat = {"source": "made up", "points": [{"rows": 1, "ms": PASS_MS}]}
    built = Scenario(
        name="test",
        description="made up",
        output_tokens=200,
        target={"curve": flat},
        drafters={
            "curve": {"source": "made up", "points": [{"rows": 1, "ms": STEP_MS}]},
            "acceptance": {"source": "made up", "rate": 0.7, "spread": 0.2, "runners_up": [0.4, 0.3]},
        },
        network={"source": "made up", "latency_ms": 0.0},
    )
    for name, value in changes.items():
        built = built.with_value(name.replace("__", "."), value)
    return built


def constant_acceptance(rate: float) -> dict[str, Any]:
    """A law without any differences between positions."""
    return {"source": "made up", "rate": rate}
