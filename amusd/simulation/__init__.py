"""A discrete-event simulation on a virtual clock that drives the real core and the real policies.

Real: `amusd.speculation` (both endpoints) and `amusd.policies`. Modelled: time (cost curves, network
latency) and text (what the target says, how often a drafter guesses it). See docs/simulation.md.
"""

from amusd.simulation.result import Result
from amusd.simulation.scenario import Scenario, load_scenario, shipped_scenarios
from amusd.simulation.world import Run, simulate

__all__ = ["Result", "Run", "Scenario", "load_scenario", "shipped_scenarios", "simulate"]
