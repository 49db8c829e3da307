"""A closed loop: so many requests are decoded all the time, none ends, and tokens are counted for a while.

Laws:

- What is counted begins after half as many tokens as are counted: by then the policies know the pair.
- A batch that has fewer requests than there are kinds of them runs once for each kind, counted together.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from amusd.simulation.clock import NS_PER_SECOND
from amusd.simulation.load.contenders import Contender
from amusd.simulation.scenario import Scenario
from amusd.simulation.world import World
from amusd.speculation.messages import Commit, RequestId

_FOR_EVER: Final = 100_000  # tokens of an output that does not end


@dataclass(frozen=True, slots=True)
class Batch:
    """What a contender does with a batch.

    Args:
        requests: in it.
        tokens_per_second: of all of them together.
        tokens_per_pass: of each request.
        verified: drafted tokens of each request in a pass.
    """

    contender: str
    requests: int
    tokens_per_second: float
    tokens_per_pass: float
    verified: float


@dataclass(slots=True)
class _Tally:
    tokens: int = 0
    ns: int = 0
    request_passes: int = 0
    verified: int = 0


def run_batch(scenario: Scenario, contender: Contender, requests: int) -> Batch:
    """Decode a batch.

    Raises:
        SimulationError: a defect of the core, of a policy or of the simulation.
    """
    kinds = max(1, len(scenario.drafters.acceptance.mix))
    tally = _Tally()
    changed = contender.of(scenario, requests, _FOR_EVER)
    for first in range(1, max(kinds, requests) + 1, requests):
        _run(changed, [RequestId(first + index) for index in range(requests)], kinds, tally)
    return Batch(
        contender=contender.key,
        requests=requests,
        tokens_per_second=tally.tokens * NS_PER_SECOND / tally.ns,
        tokens_per_pass=tally.tokens / tally.request_passes,
        verified=tally.verified / tally.request_passes,
    )


def _run(scenario: Scenario, requests: Sequence[RequestId], kinds: int, tally: _Tally) -> None:
    runs = math.ceil(kinds / len(requests))
    load = scenario.load
    wanted = max(load.batch_tokens * len(requests), load.tokens_min // runs)
    written, began = 0, (0, 0)  # tokens; when counting began, and at how many of them

    def read(commits: list[Commit]) -> None:
        nonlocal written, began
        written += sum(len(commit.tokens) for commit in commits)
        if not began[1] and written >= wanted // 2:
            began = world.clock.now_ns, written

    def open_all() -> None:
        for request in requests:
            world.open(request, _FOR_EVER, ready=True)

    world = World(scenario, read)
    world.at(0, open_all)
    world.run(lambda: bool(began[1]) and written - began[1] >= wanted)
    tally.tokens += written - began[1]
    tally.ns += world.clock.now_ns - began[0]
    for event in world.target.events:
        if event.name == "pass" and event.end_ns > began[0]:
            tally.request_passes += event.arguments["requests"]
            tally.verified += event.arguments["verified"]
