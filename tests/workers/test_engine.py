"""Questions to an engine, which its own thread answers."""

import asyncio
import threading

from amusd.workers.engine import Asked, Engine


class Idle(Engine[object]):
    """Does nothing but take events; an event that is a function is called."""

    def load(self):
        """Nothing to load."""

    def wait_seconds(self):
        """For ever."""

    def occupancy(self):
        """Nothing is held."""
        return {}

    def on_event(self, event):
        """Do as told."""
        event()

    def work(self):
        """Nothing to do."""


def test_a_question_that_nobody_waits_for_any_more_is_not_answered_and_harms_nobody():
    async def scenario():
        engine, held = Idle("idle", ()), threading.Event()
        await engine.post(held.wait)
        abandoned = asyncio.create_task(engine.ask(engine.occupancy))
        await asyncio.sleep(0)
        abandoned.cancel()
        await asyncio.gather(abandoned, return_exceptions=True)
        held.set()
        other = Asked(engine.occupancy)
        await engine.post(other)
        engine._receive(0)  # on this thread: a crash on its own would end the process
        return other.answer.result(timeout=5)

    assert asyncio.run(scenario()) == {}
