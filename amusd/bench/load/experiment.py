"""One load benchmark from start to end: every contender's server, then run after run in rotated order.

Only one server has requests at a time; the others sleep. See benchmarks/README.md.
"""

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from amusd.bench.load.arrivals import arrival_times
from amusd.bench.load.contenders import load_contenders, server_options
from amusd.bench.load.jobs import Job, mixed_jobs
from amusd.bench.load.offering import Answer, TokenIds, decode_in_turn, is_exact, offer
from amusd.bench.load.results import LoadResults
from amusd.bench.load.runs import Request, Run
from amusd.bench.load.server import LocalServer, local_server
from amusd.bench.load.settings import ALONE, LoadSettings
from amusd.bench.machine import machine_facts
from amusd.bench.ours import kept_on
from amusd.bench.progress import Progress
from amusd.bench.prompts import choose_prompts
from amusd.bench.results import PromptFacts
from amusd.devices import available, other_cores
from amusd.errors import InputError
from amusd.models.loading import load_tokenizer

LOADS: Final = (0.1, 0.5, 1.0, 2.0)
"""The default rates, as multiples of what the target alone bears: from idle to beyond saturation."""


def run_load(settings: LoadSettings, progress: Progress) -> LoadResults:
    """Run everything.

    Raises:
        InputError: settings that cannot be used together.
        AmusdError: a server failed.
    """
    started = time.monotonic()
    prompts = choose_prompts(settings.prompts_file, settings.num_prompts)
    tokenizer = load_tokenizer(settings.target)
    token_ids = [tuple(tokenizer.encode(prompt.text)) for prompt in prompts]
    jobs = mixed_jobs(
        settings.requests, len(prompts), settings.temperatures, settings.max_tokens, settings.seed
    )
    results = LoadResults(
        settings.to_dict(),
        machine_facts(),
        contenders={item.key: server_options(item, settings) for item in load_contenders(settings)},
        prompts=[
            PromptFacts(prompt.name, prompt.kind, len(ids))
            for prompt, ids in zip(prompts, token_ids, strict=True)
        ],
        jobs=jobs,
    )
    with ExitStack() as stack:
        servers = _start(stack, results.contenders, settings.out, progress)
        # Servers inherit the affinity of who starts them: only now may this process keep off the target.
        stack.enter_context(kept_on(other_cores(settings.target_devices, available())))
        runner = stack.enter_context(asyncio.Runner())
        experiment = _Experiment(settings, servers, token_ids, runner, results, progress)
        experiment.prepare()
        experiment.measure()
    results.seconds = time.monotonic() - started
    return results


def _start(
    stack: ExitStack, contenders: Mapping[str, Sequence[str]], folder: Path, progress: Progress
) -> dict[str, LocalServer]:
    """Every contender's server, by key.

    Args:
        contenders: their options.
        folder: of the logs.
    """
    progress.begin("starting", len(contenders))
    servers = {}
    for key, options in contenders.items():
        progress.step(key)
        log = folder / f"{key.replace(' ', '-')}.log"
        servers[key] = stack.enter_context(local_server(options, log))
    return servers


class _Experiment:
    """The state of one load benchmark.

    Args:
        prompts: token ids.
        runner: one event loop for all clients.
        results: filled in place.
    """

    def __init__(
        self,
        settings: LoadSettings,
        servers: dict[str, LocalServer],
        prompts: Sequence[TokenIds],
        runner: asyncio.Runner,
        results: LoadResults,
        progress: Progress,
    ) -> None:
        self._settings = settings
        self._servers = servers
        self._prompts = prompts
        self._runner = runner
        self._results = results
        self._progress = progress
        self._references: list[TokenIds] = []  # of the target alone, by job

    def prepare(self) -> None:
        """Decode what everybody has to answer, warm everybody up, and find the rates."""
        settings, jobs, results = self._settings, self._results.jobs, self._results
        self._progress.begin("preparing", len(self._servers) + 2)
        self._progress.step("the target alone, one request at a time")
        address = self._servers[ALONE].address
        results.exact = self._runner.run(is_exact(address))
        self._references = self._runner.run(decode_in_turn(address, self._prompts, jobs))
        for key in self._servers:
            self._progress.step(f"warming up {key}")
            others = mixed_jobs(
                settings.max_requests,
                len(self._prompts),
                settings.temperatures,
                settings.max_tokens,
                settings.seed + len(jobs),
            )
            self._offer(key, others, [0.0] * len(others))
        results.rates = settings.rates
        if not results.rates:
            self._progress.step("what the target alone can bear")
            results.capacity = self._capacity()
            results.rates = tuple(float(f"{load * results.capacity:.2g}") for load in LOADS)

    def _capacity(self) -> float:
        """Requests per second of the target alone when all of them come at once."""
        jobs = self._results.jobs
        answers, seconds = self._offer(ALONE, jobs, [0.0] * len(jobs))
        finished = sum(answer.finished is not None for answer in answers)
        if not finished:
            remedy = "the target alone finished no request in twice as many; give more, or lower --max-tokens"
            raise InputError("--seconds", self._settings.seconds, remedy)
        return finished / seconds

    def measure(self) -> None:
        """Each repeat offers every rate to every contender, in rotated order."""
        settings, results = self._settings, self._results
        self._progress.begin("measuring", settings.repeats * len(results.rates) * len(self._servers))
        order = random.Random(settings.seed).sample(list(self._servers), len(self._servers))
        for repeat in range(settings.repeats):
            for index, rate in enumerate(results.rates):
                arrivals = arrival_times(
                    settings.arrivals, rate, len(results.jobs), settings.seconds, settings.seed + repeat
                )
                turn = (repeat * len(results.rates) + index) % len(order)
                for key in order[turn:] + order[:turn]:
                    self._progress.step(
                        f"repeat {repeat + 1} of {settings.repeats}: {key} at {rate:g} requests/s"
                    )
                    answers, seconds = self._offer(key, results.jobs[: len(arrivals)], arrivals)
                    requests = tuple(map(self._judge, range(len(answers)), answers))
                    results.runs.append(Run(key, rate, repeat, seconds, requests))

    def _offer(self, key: str, jobs: Sequence[Job], arrivals: Sequence[float]) -> tuple[list[Answer], float]:
        address, seconds_max = self._servers[key].address, 2 * self._settings.seconds
        return self._runner.run(offer(address, self._prompts, jobs, arrivals, seconds_max))

    def _judge(self, job: int, answer: Answer) -> Request:
        """What is kept of an answer."""
        metrics, exact = answer.metrics, None
        if answer.finished is not None:
            exact = tuple(answer.token_ids) == self._references[job]
        return Request(
            job=job,
            arrival=answer.arrival,
            first=answer.first,
            first_tokens=answer.first_tokens,
            finished=answer.finished,
            tokens=len(answer.token_ids),
            exact=exact,
            passes=0 if metrics is None else metrics.passes,
            verified=0 if metrics is None else metrics.verified,
            accepted=0 if metrics is None else metrics.accepted,
        )
