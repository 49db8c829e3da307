"""Keep many streams busy on one server, compare every answer with the target alone, and watch memory.

    python scripts/soak.py --streams 64 --minutes 5

Starts `amusd serve` with the embedded pair. What each request must answer is decoded first, by an engine
without a draft. Prints times to first token and between tokens, and the memory of each process every tenth of
the way. Exits with 1 on an error, on an answer that is not the target's own, or when memory grew by more than
5 % after the first third.
"""

import argparse
import asyncio
import os
import random
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from held_out import held_out_prompts

from amusd import LLM, AsyncClient, SamplingParams
from amusd.bench.load.server import local_server

GROWTH_MAX = 1.05
KINDS = 48


@dataclass(slots=True)
class Record:
    """What was seen."""

    answers: int = 0
    tokens: int = 0
    wrong: list[str] = field(default_factory=list)
    first_seconds: list[float] = field(default_factory=list)
    between_seconds: list[float] = field(default_factory=list)
    memory: list[dict[str, float]] = field(default_factory=list)


def jobs() -> list[tuple[str, SamplingParams]]:
    """Prompts with settings: greedy and sampled, short and long, some ended by a stop string."""
    prompts = held_out_prompts()
    return [
        (
            prompts[kind % len(prompts)],
            SamplingParams(
                temperature=(0.0, 1.0, 0.7)[kind % 3],
                top_p=0.9 if kind % 3 == 2 else 1.0,
                seed=kind,
                max_tokens=16 + 3 * kind,
                stop=("\n\n",) if kind % 5 == 4 else (),
                ignore_eos=kind % 2 == 0,
            ),
        )
        for kind in range(KINDS)
    ]


async def stream_for_ever(
    client: AsyncClient, wanted: list[tuple[int, ...]], record: Record, chosen: random.Random, until: float
) -> None:
    """One user: one request after the other."""
    every = jobs()
    while time.monotonic() < until:
        kind = chosen.randrange(len(every))
        prompt, params = every[kind]
        tokens: list[int] = []
        text, asked = "", time.monotonic()
        last = asked
        async for chunk in client.stream(prompt, params):
            now = time.monotonic()
            if chunk.token_ids:
                if not tokens:
                    record.first_seconds.append(now - asked)
                else:
                    each = (now - last) / len(chunk.token_ids)
                    record.between_seconds += [each] * len(chunk.token_ids)
                last = now
            tokens += chunk.token_ids
            text += chunk.text
            output = chunk.finished
        assert output is not None
        if tuple(tokens) != wanted[kind] or output.token_ids != wanted[kind] or output.text != text:
            record.wrong.append(f"request {kind}: {tokens[:8]}... instead of {wanted[kind][:8]}...")
        record.answers += 1
        record.tokens += len(tokens)


async def watch_memory(pids: dict[str, int], record: Record, seconds: float) -> None:
    """Ten looks."""
    for look in range(1, 11):
        await asyncio.sleep(seconds / 10)
        sizes = {name: psutil.Process(pid).memory_info().rss / 2**20 for name, pid in pids.items()}
        record.memory.append(sizes)
        shown = "  ".join(f"{name} {size:.1f} MiB" for name, size in sizes.items())
        print(f"{look * seconds / 10:5.0f} s  {record.answers:6} answers  {shown}", flush=True)


async def soak(
    address: str, server_pid: int, options: argparse.Namespace, wanted: list[tuple[int, ...]]
) -> Record:
    """All users at once."""
    record, seconds = Record(), 60 * options.minutes
    until = time.monotonic() + seconds
    async with AsyncClient(address, retries=False) as client:
        workers = (await client.info())["workers"]
        pids = {"server": server_pid, **{name: details["pid"] for name, details in workers.items()}}
        users = [
            stream_for_ever(client, wanted, record, random.Random(user), until)
            for user in range(options.streams)
        ]
        await asyncio.gather(watch_memory(pids, record, seconds), *users)
        held = await client.info()
        print(f"held at the end: {held['occupancy']}, {held['running']} running, {held['waiting']} waiting")
    return record


def percentiles(name: str, seconds: list[float]) -> str:
    """The middle and the slow end, in ms."""
    cuts = statistics.quantiles(seconds, n=100)
    return f"{name}: p50 {cuts[49] * 1e3:.0f} ms, p99 {cuts[98] * 1e3:.0f} ms"


def main() -> int:
    """Decode what is wanted, then soak."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--max-requests", type=int, default=8, help="decoded at a time; the others wait")
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    target, draft = f"cpu:{cores[0]}", f"cpu:{cores[-1]}"
    with LLM(target="demo", launcher="local", mode="alone", target_devices=target) as alone:
        prompts, params = zip(*jobs(), strict=True)
        wanted = [output.token_ids for output in alone.generate(list(prompts), list(params))]
    log = Path(tempfile.mkdtemp()) / "server.log"
    limits = ["--max-requests", str(options.max_requests), "--max-queue", str(options.streams)]
    devices = ["--target-devices", target, "--draft-devices", draft, "--draft", "demo-large"]
    with local_server([*limits, *devices], log) as server:
        record = asyncio.run(soak(server.address, server.pid, options, wanted))
    print(f"{record.answers} answers, {record.tokens} tokens, {len(record.wrong)} wrong; log: {log}")
    print(percentiles("time to first token", record.first_seconds))
    print(percentiles("time between tokens", record.between_seconds))
    for line in record.wrong[:5]:
        print(line)
    settled = record.memory[len(record.memory) // 3]
    grown = [name for name, size in record.memory[-1].items() if size > GROWTH_MAX * settled[name]]
    if grown:
        print(f"memory grew: {', '.join(grown)}")
    return int(bool(record.wrong or grown))


if __name__ == "__main__":
    sys.exit(main())
