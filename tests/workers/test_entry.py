"""The loop in which a worker serves."""

import asyncio
import threading

from amusd.policies.drafting import draft_policy
from amusd.speculation.drafter import DrafterEndpoint
from amusd.speculation.target import TargetEndpoint
from amusd.workers.entry import LoopThread, target_limits
from tests.speculation.pair import attach, say


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


def test_a_drafter_may_fill_the_windows_of_as_many_requests_as_there_may_be():
    options = {"mode": "async", "num_speculative_tokens": 7, "max_requests": 64, "rule": "race"}
    window = draft_policy("async", 7).window
    limits = target_limits(options)
    assert limits.window == window
    of, by = TargetEndpoint(7, 1000, limits), DrafterEndpoint(3, window)
    for request in range(64):
        of.on_open(request, (1, 2), 2, 100, frozenset())
        by.on_open(request, (1, 2), 100)
        by.grow(request, None, [(token, 0.5) for token in range(window)])
    attach(of, by)
    say(of, by)
    assert {of.tree(request).count for request in range(64)} == {window}
