"""Random walks through the hostile world: a failing one is replayed from its seed."""

import random
from collections.abc import Callable

from .invariants import check
from .world import World


def walk(seed: int, steps: int = 80) -> World:
    """Do random things, check after each, then mend everything and check that every request ends."""
    rng = random.Random(seed)
    world = World()
    world.connect(0)
    world.connect(1)
    world.open((1, 2), 20)
    world.flush()
    mishaps = rng.choice([0.02, 0.1, 0.3])
    for _ in range(steps):
        index = rng.randrange(2)
        choices = _mishaps(world, rng, index) if rng.random() < mishaps else _work(world, rng, index)
        rng.choice(choices)()
        check(world)
    world.settle()
    return world


def _mishaps(world: World, rng: random.Random, index: int) -> list[Callable[[], object]]:
    def abort() -> None:
        if live := world.live():
            world.abort(rng.choice(live))

    return [
        abort,
        world.break_feed,
        world.restart_target,
        lambda: world.cut(index),
        lambda: world.connect(index),
        lambda: world.restart_drafter(index),
        lambda: world.hand_over(index),
    ]


def _work(world: World, rng: random.Random, index: int) -> list[Callable[[], object]]:
    guesses = [None if rng.random() < 0.7 else rng.randrange(4) for _ in range(rng.randint(1, 5))]
    prompt = tuple(rng.randrange(3) for _ in range(rng.randint(1, 3)))
    pick, count, twice = rng.randrange(1000), rng.randint(1, 4), rng.random() < 0.3

    def repeat(action: Callable[[], None]) -> None:
        for _ in range(count):
            action()

    def propose() -> None:
        world.draft(index, pick, guesses)
        world.send(index)
        repeat(lambda: world.deliver_up(index))

    return [
        propose,
        propose,
        propose,
        lambda: world.look_up(pick, guesses),
        world.feed,
        world.deliver_control,
        world.deliver_control,
        world.finish_pass,
        world.finish_pass,
        lambda: world.begin_pass(count, branches=twice),
        lambda: world.connect(index),
        lambda: world.deliver_drafter_control(index),
        lambda: world.deliver_feed(twice=twice),
        lambda: world.draft(index, pick, guesses),
        lambda: world.hand_out(index),
        lambda: world.open(prompt, rng.randint(1, 20), rng.choice([(0, 1), (index,)])),
        lambda: world.send(index),
        lambda: repeat(lambda: world.deliver_up(index)),
        lambda: repeat(lambda: world.deliver_down(index, twice=twice)),
        lambda: world.flush() if pick < 100 else None,
    ]
