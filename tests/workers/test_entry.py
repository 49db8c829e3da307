"""The loop in which a worker serves."""

import asyncio
import threading

from amusd.workers.entry import LoopThread


def test_what_still_runs_in_a_loop_is_ended_with_it():
    thread, begun, ended = LoopThread(), threading.Event(), threading.Event()

    async def forever():
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    asyncio.run_coroutine_threadsafe(forever(), thread.loop)
    assert begun.wait(10)
    thread.stop()
    assert ended.is_set()
    assert not thread.is_alive()
