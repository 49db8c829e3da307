"""Abort half of many running requests at random and count what they leave behind: nothing.

    python scripts/verify_aborts.py --requests 200

Starts `amusd serve` with the embedded pair and room for all requests at a time. Half of the clients leave
after a random number of tokens, by closing the stream or by name; the others' answers are compared with those
without drafts. Prints the slots, tree nodes, open requests and tasks before and after. Exits with 1 when
something is left or an answer is wrong.
"""

import argparse
import asyncio
import os
import random
import sys
import tempfile
import time
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

from held_out import held_out_prompts

from amusd import AbortedError, AsyncClient, SamplingParams
from amusd.bench.load.server import local_server

FREE_SECONDS_MAX = 60.0


def params(index: int) -> SamplingParams:
    """Each request has its own noise."""
    return SamplingParams(temperature=1, seed=index, max_tokens=48, ignore_eos=True)


async def stay(client: AsyncClient, prompt: str, index: int) -> tuple[int, ...]:
    """Read an answer to its end."""
    return tuple([token async for chunk in client.stream(prompt, params(index)) for token in chunk.token_ids])


async def leave(client: AsyncClient, prompt: str, index: int, after: int, by_name: bool) -> None:
    """Read some tokens, then abort."""
    name, seen = f"leaver-{index}", 0
    with suppress(AbortedError):
        async with aclosing(client.stream(prompt, params(index), request_id=name)) as chunks:
            async for chunk in chunks:
                seen += len(chunk.token_ids)
                if seen > after:
                    if not by_name:
                        return
                    await client.abort(name)


def held(info: dict[str, Any]) -> dict[str, int]:
    """What requests hold now."""
    counts = {f"{worker} {what}": n for worker, all in info["occupancy"].items() for what, n in all.items()}
    return counts | {"running": info["running"], "waiting": info["waiting"], "server tasks": info["tasks"]}


def is_more(now: dict[str, int], before: dict[str, int]) -> bool:
    """Whether anything is held that was not; a worker that is too busy to say holds something."""
    return any(now.get(name, count + 1) > count for name, count in before.items())


async def wait_until_free(client: AsyncClient, before: dict[str, int]) -> dict[str, int]:
    """What is held when no more than before is, or when the patience ends."""
    until = time.monotonic() + FREE_SECONDS_MAX
    while True:
        now = held(await client.info())
        if not is_more(now, before) or time.monotonic() > until:
            return now
        await asyncio.sleep(0.1)


async def run(address: str, count: int) -> int:
    """Everybody at once."""
    chosen, prompts = random.Random(1), held_out_prompts()
    doomed = set(chosen.sample(range(count), count // 2))
    async with AsyncClient(address, retries=False, concurrency=count) as client:
        before = held(await client.info())
        print(f"before: {before}")
        work = [
            leave(client, prompts[i % len(prompts)], i, chosen.randrange(40), chosen.random() < 0.5)
            if i in doomed
            else stay(client, prompts[i % len(prompts)], i)
            for i in range(count)
        ]
        gathering = asyncio.gather(*work)
        await asyncio.sleep(2.0)
        print(f"during: {held(await client.info())}")
        answers = await gathering
        after = await wait_until_free(client, before)
        print(f"after:  {after}")
        staying = [i for i in range(count) if i not in doomed]
        alone = await client.generate(
            [prompts[i % len(prompts)] for i in staying], [params(i) for i in staying], speculative=False
        )
    wrong = [i for i, output in zip(staying, alone, strict=True) if answers[i] != output.token_ids]
    print(f"{count} requests, {len(doomed)} aborted, {len(staying)} finished, {len(wrong)} of them wrong")
    return int(bool(wrong) or is_more(after, before))


def main() -> int:
    """Start a server and run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=200)
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    devices = ["--target-devices", f"cpu:{cores[0]}", "--draft-devices", f"cpu:{cores[-1]}"]
    limits = ["--max-requests", str(options.requests), "--max-model-len", "512"]
    log = Path(tempfile.mkdtemp()) / "server.log"
    with local_server([*devices, *limits, "--draft", "demo-large"], log) as server:
        return asyncio.run(run(server.address, options.requests))


if __name__ == "__main__":
    sys.exit(main())
