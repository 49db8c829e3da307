"""One load benchmark from start to end: every contender's server, then run after run in rotated order.

Only one server has requests at a time; the others sleep. See benchmarks/README.md.
"""

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from amusd.bench.load.contenders import Contender, load_contenders, profiled_contenders, server_options
from amusd.bench.load.jobs import Job, mixed_jobs
from amusd.bench.load.offering import Answer, TokenIds, decode_in_turn, is_exact
from amusd.bench.load.profile import profile
from amusd.bench.load.results import LoadResults
from amusd.bench.load.running import OurServer, Running, start
from amusd.bench.load.runs import HeldRun, Request, Run
from amusd.bench.load.settings import ALONE, FIXED, TABLE, LoadSettings
from amusd.bench.machine import machine_facts
from amusd.bench.ours import kept_on
from amusd.bench.progress import Progress
from amusd.bench.prompts import choose_prompts
from amusd.bench.results import PromptFacts
from amusd.devices import available, other_cores
from amusd.errors import InputError
from amusd.models.loading import load_tokenizer
from amusd.policies.table import SpeculationTable, read_table
from amusd.simulation.arrivals import arrival_times

LOADS: Final = (0.1, 0.5, 1.0, 2.0)
"""The default rates, as multiples of what the target alone bears: from idle to beyond saturation."""


PROFILE_SEED: Final = 100_000
"""Added to the seed of the mix on which a table is profiled, so that no request of it is measured later."""


def run_load(
    settings: LoadSettings, progress: Progress, keep: Callable[[LoadResults], object]
) -> LoadResults:
    """Run everything.

    Args:
        keep: called with the results after each repeat, so that whatever ends the benchmark costs no more
            than the repeat that it falls in.

    Raises:
        InputError: settings that cannot be used together.
        AmusdError: a server failed.
    """
    started, machine = time.monotonic(), machine_facts()
    mix = _Mix.of(settings)
    with ExitStack() as stack:
        runner = stack.enter_context(asyncio.Runner())
        servers: dict[str, Running] = {}
        if TABLE in settings.contenders and settings.policy_table is None:
            kept = stack if FIXED in settings.contenders else None
            _profile(settings, mix, servers, kept, runner, progress).write(settings.table_file)
        contenders = load_contenders(settings)
        _start(stack, contenders, servers, settings, mix, runner, progress)
        results = LoadResults(
            settings.to_dict(),
            machine,
            contenders={
                item.key: server_options(item, settings) if item.is_ours else (servers[item.key].facts,)
                for item in contenders
            },
            rivals=tuple(item.key for item in contenders if not item.is_ours),
            table=read_table(settings.table_file) if TABLE in settings.contenders else None,
            prompts=mix.facts,
            jobs=mix.jobs(settings.requests, settings.seed),
        )
        # Servers inherit the affinity of who starts them: only now may this process keep off the target.
        stack.enter_context(kept_on(other_cores(settings.target_devices, available())))
        experiment = _Experiment(settings, servers, mix, runner, results, progress)
        experiment.prepare()
        for repeat in range(settings.repeats):
            experiment.measure(repeat)
            results.seconds = time.monotonic() - started
            keep(results)
    return results


def run_profile(settings: LoadSettings, progress: Progress) -> SpeculationTable:
    """Measure the table of the policy `table`, and nothing else.

    Raises:
        AmusdError: a server failed.
    """
    with asyncio.Runner() as runner:
        return _profile(settings, _Mix.of(settings), {}, None, runner, progress)


@dataclass(frozen=True, slots=True)
class _Mix:
    """The prompts, and what requests ask for."""

    settings: LoadSettings
    token_ids: list[TokenIds]
    facts: list[PromptFacts]

    @classmethod
    def of(cls, settings: LoadSettings) -> "_Mix":
        """Read and encode the prompts.

        Raises:
            InputError: there are too few.
        """
        prompts = choose_prompts(settings.prompts_file, settings.num_prompts)
        tokenizer = load_tokenizer(settings.target)
        token_ids = [tuple(tokenizer.encode(prompt.text)) for prompt in prompts]
        facts = [
            PromptFacts(prompt.name, prompt.kind, len(ids))
            for prompt, ids in zip(prompts, token_ids, strict=True)
        ]
        return cls(settings, token_ids, facts)

    def jobs(self, count: int, seed: int) -> list[Job]:
        """So many requests of the mix."""
        settings = self.settings
        return mixed_jobs(count, len(self.token_ids), settings.temperatures, settings.max_tokens, seed)


def _profile(
    settings: LoadSettings,
    mix: _Mix,
    servers: dict[str, Running],
    kept: ExitStack | None,
    runner: asyncio.Runner,
    progress: Progress,
) -> SpeculationTable:
    """Start whom a table is measured on, and measure it.

    Args:
        servers: those that are kept come in here, by key.
        kept: who ends them; None ends them here.
    """
    profiled = profiled_contenders(settings)
    with ExitStack() as own:
        started: dict[str, Running] = {}
        _start(kept or own, profiled.values(), started, settings, mix, runner, progress)
        if kept is not None:
            servers |= started
        by_k = {k: started[contender.key] for k, contender in profiled.items()}
        others = mix.jobs(max(settings.requests, settings.max_requests), settings.seed + PROFILE_SEED)
        with kept_on(other_cores(settings.target_devices, available())):
            return profile(
                by_k,
                others,
                settings.max_requests,
                settings.hold_seconds,
                settings.seed,
                settings.to_dict() | {"machine": machine_facts()},
                progress,
            )


def _start(
    stack: ExitStack,
    contenders: Iterable[Contender],
    servers: dict[str, Running],
    settings: LoadSettings,
    mix: _Mix,
    runner: asyncio.Runner,
    progress: Progress,
) -> None:
    """Start those that are not there yet; `servers` has them by key afterwards."""
    absent = [item for item in contenders if item.key not in servers]
    progress.begin("starting", len(absent))
    for contender in absent:
        progress.step(contender.key)
        running = start(contender, settings, mix.token_ids, runner)
        servers[contender.key] = stack.enter_context(running)


class _Experiment:
    """The state of one load benchmark.

    Args:
        servers: of all contenders, by key.
        runner: one event loop for all clients.
        results: filled in place.
    """

    def __init__(
        self,
        settings: LoadSettings,
        servers: Mapping[str, Running],
        mix: _Mix,
        runner: asyncio.Runner,
        results: LoadResults,
        progress: Progress,
    ) -> None:
        self._settings = settings
        self._servers = servers
        self._mix = mix
        self._runner = runner
        self._results = results
        self._progress = progress
        self._references: list[TokenIds] = []  # of the target alone, by job

    def prepare(self) -> None:
        """Decode what everybody has to answer, warm everybody up, and find the rates."""
        settings, jobs, results = self._settings, self._results.jobs, self._results
        keys = list(results.contenders)
        self._progress.begin("preparing", len(keys) + 2)
        self._progress.step("the target alone, one request at a time")
        alone = self._servers[ALONE]
        assert isinstance(alone, OurServer), "it is ours"
        results.exact = self._runner.run(is_exact(alone.address))
        self._references = self._runner.run(decode_in_turn(alone.address, self._mix.token_ids, jobs))
        others = self._mix.jobs(settings.max_requests, settings.seed + len(jobs))
        for key in keys:
            self._progress.step(f"warming up {key}")
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

    def measure(self, repeat: int) -> None:
        """Offer every rate to every contender and hold every number live, in rotated order."""
        settings, results = self._settings, self._results
        keys = list(results.contenders)
        loads = len(results.rates) + len(settings.live)
        if not repeat:
            self._progress.begin("measuring", settings.repeats * loads * len(keys))
        order = random.Random(settings.seed).sample(keys, len(keys))
        said = f"repeat {repeat + 1} of {settings.repeats}"
        for index in range(loads):
            turn = (repeat * loads + index) % len(order)
            for key in order[turn:] + order[:turn]:
                if index < len(results.rates):
                    rate = results.rates[index]
                    self._progress.step(f"{said}: {key} at {rate:g} requests/s")
                    results.runs.append(self._run(key, rate, repeat))
                else:
                    live = settings.live[index - len(results.rates)]
                    self._progress.step(f"{said}: {key} with {live} live requests")
                    results.held.append(self._hold(key, live, repeat))

    def _run(self, key: str, rate: float, repeat: int) -> Run:
        """One open loop."""
        settings, jobs = self._settings, self._results.jobs
        seed = settings.seed + repeat
        arrivals = arrival_times(settings.arrivals, rate, len(jobs), settings.seconds, seed)
        answers, seconds = self._offer(key, jobs[: len(arrivals)], arrivals)
        is_rival = key in self._results.rivals
        requests = tuple(self._judge(job, answer, is_rival) for job, answer in enumerate(answers))
        return Run(key, rate, repeat, seconds, requests)

    def _hold(self, key: str, live: int, repeat: int) -> HeldRun:
        """One closed loop; every answer, finished or not, has to begin that of the target alone."""
        held = self._servers[key].hold(self._results.jobs, live, self._settings.hold_seconds)
        different = sum(self._references[job][: len(ids)] != ids for job, ids in held.answers)
        return HeldRun(key, live, repeat, held.tokens, held.seconds, len(held.answers), different)

    def _offer(self, key: str, jobs: Sequence[Job], arrivals: Sequence[float]) -> tuple[list[Answer], float]:
        return self._servers[key].offer(jobs, arrivals, 2 * self._settings.seconds)

    def _judge(self, job: int, answer: Answer, is_rival: bool) -> Request:
        """What is kept of an answer."""
        metrics, exact = answer.metrics, None
        if answer.finished is not None and not (is_rival and self._results.jobs[job].temperature):
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
