"""What the requests of a run ask for: a mix of prompts, temperatures and lengths, the same in every run."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice

from amusd.params import SamplingParams


@dataclass(frozen=True, slots=True)
class Job:
    """One request.

    Args:
        prompt: which one.
        temperature: 0 or more.
        seed: of the answer.
        tokens: of the answer, exactly.
    """

    prompt: int
    temperature: float
    seed: int
    tokens: int

    @property
    def params(self) -> SamplingParams:
        """As the server takes it."""
        return SamplingParams(
            temperature=self.temperature, seed=self.seed, max_tokens=self.tokens, ignore_eos=True
        )


def mixed_jobs(
    count: int, prompts: int, temperatures: Sequence[float], tokens_max: int, seed: int
) -> list[Job]:
    """Jobs in the order of their arrival.

    Every prompt has its turn before one comes again, in an order of its own each time; temperatures take
    turns; lengths are spread evenly from half of `tokens_max` to the whole. All seeds are different.

    Args:
        count: of the jobs.
        prompts: how many there are.
        seed: of the mix.
    """
    draws = random.Random(seed)
    order: list[int] = []
    jobs: list[Job] = []
    for index in range(count):
        if not order:
            order = draws.sample(range(prompts), prompts)
        jobs.append(
            Job(
                prompt=order.pop(),
                temperature=temperatures[index % len(temperatures)],
                seed=seed + index,
                tokens=draws.randint(-(-tokens_max // 2), tokens_max),
            )
        )
    return jobs


def staggered(jobs: Sequence[Job], live: int) -> list[tuple[int, Job]]:
    """Jobs for a closed loop of so many live requests, each with its index.

    The first `live` of them are cut short, each by another share, so that not all end together; then all jobs
    follow.

    Args:
        jobs: at least one; they begin anew where there are fewer than `live`.
    """
    first = islice(cycle(enumerate(jobs)), live)
    cut = [
        (index, replace(job, tokens=-(-job.tokens * (place + 1) // live)))
        for place, (index, job) in enumerate(first)
    ]
    return [*cut, *enumerate(jobs)]
