"""Two drafters, one target and a ledger over hostile streams, driven by hypothesis."""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from .chaos import walk
from .fake_target import VOCABULARY_SIZE
from .invariants import check
from .world import World

TOKENS = st.integers(0, VOCABULARY_SIZE - 1)
DRAFTERS = st.integers(0, 1)
PICKS = st.integers(0, 1000)


class HostileWorld(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.world.connect(0)
        self.world.open((1, 2), 12)

    @rule(
        prompt=st.lists(TOKENS, min_size=1, max_size=3).map(tuple),
        output_max=st.integers(1, 20),
        holders=st.sampled_from([(0, 1), (0,), (1,)]),
    )
    def open(self, prompt: tuple[int, ...], output_max: int, holders: tuple[int, ...]) -> None:
        self.world.open(prompt, output_max, holders)

    @rule(pick=PICKS)
    def abort(self, pick: int) -> None:
        if live := self.world.live():
            self.world.abort(live[pick % len(live)])

    @rule(index=DRAFTERS, pick=PICKS, guesses=st.lists(st.none() | TOKENS, min_size=1, max_size=5))
    def draft(self, index: int, pick: int, guesses: list[int | None]) -> None:
        self.world.draft(index, pick, guesses)

    @rule(index=DRAFTERS, pick=PICKS, guesses=st.lists(st.none() | TOKENS, min_size=1, max_size=5))
    def draft_and_send(self, index: int, pick: int, guesses: list[int | None]) -> None:
        self.world.draft(index, pick, guesses)
        self.world.send(index)

    @rule(pick=PICKS, guesses=st.lists(st.none() | TOKENS, min_size=1, max_size=5))
    def look_up(self, pick: int, guesses: list[int | None]) -> None:
        self.world.look_up(pick, guesses)

    @rule(index=DRAFTERS)
    def send(self, index: int) -> None:
        self.world.send(index)

    @rule(index=DRAFTERS, count=st.integers(1, 4))
    def deliver_up(self, index: int, count: int) -> None:
        for _ in range(count):
            self.world.deliver_up(index)

    @rule(index=DRAFTERS, count=st.integers(1, 4), twice=st.booleans())
    def deliver_down(self, index: int, count: int, twice: bool) -> None:
        for _ in range(count):
            self.world.deliver_down(index, twice=twice)

    @rule(index=DRAFTERS, count=st.integers(1, 4))
    def deliver_drafter_control(self, index: int, count: int) -> None:
        for _ in range(count):
            self.world.deliver_drafter_control(index)

    @rule(index=DRAFTERS)
    def hand_out(self, index: int) -> None:
        self.world.hand_out(index)

    @rule(count=st.integers(1, 4))
    def deliver_control(self, count: int) -> None:
        for _ in range(count):
            self.world.deliver_control()

    @rule()
    def feed(self) -> None:
        self.world.feed()

    @rule(count=st.integers(1, 4), twice=st.booleans())
    def deliver_feed(self, count: int, twice: bool) -> None:
        for _ in range(count):
            self.world.deliver_feed(twice=twice)

    @rule(nodes_max=st.integers(0, 6), branches=st.booleans())
    def begin_pass(self, nodes_max: int, branches: bool) -> None:
        self.world.begin_pass(nodes_max, branches=branches)

    @rule()
    def finish_pass(self) -> None:
        self.world.finish_pass()

    @rule()
    def flush(self) -> None:
        self.world.flush()

    @rule(index=DRAFTERS)
    def connect(self, index: int) -> None:
        self.world.connect(index)

    @rule(index=DRAFTERS)
    def cut(self, index: int) -> None:
        self.world.cut(index)

    @rule(index=DRAFTERS)
    def restart_drafter(self, index: int) -> None:
        self.world.restart_drafter(index)

    @rule(index=DRAFTERS)
    def hand_over(self, index: int) -> None:
        self.world.hand_over(index)

    @rule()
    def restart_target(self) -> None:
        self.world.restart_target()

    @rule()
    def break_feed(self) -> None:
        self.world.break_feed()

    @invariant()
    def holds(self) -> None:
        check(self.world)

    def teardown(self) -> None:
        self.world.settle()


TestHostileWorld = HostileWorld.TestCase
TestHostileWorld.settings = settings(
    max_examples=120,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@pytest.mark.parametrize("block", range(4))
def test_random_walks_keep_every_invariant(block: int) -> None:
    for seed in range(block * 120, block * 120 + 120):
        try:
            walk(seed)
        except Exception as error:
            error.add_note(f"replay with tests.speculation.chaos.walk({seed})")
            raise
