"""A small load benchmark's results, made up: two rates, two repeats, round numbers."""

from dataclasses import replace

from amusd.bench.load.jobs import Job
from amusd.bench.load.results import LoadResults
from amusd.bench.load.runs import HeldRun, Request, Run
from amusd.bench.results import PromptFacts
from amusd.policies.table import best_table

RIVAL = "transformers cpu:0-1"
SECONDS = {"alone": 2.0, "fixed k=3": 1.6, "goodput": 1.0, RIVAL: 4.0}  # of a request
SETTINGS = {
    "target": "demo",
    "draft": "demo-large",
    "lookups": ["prompt-lookup"],
    "widen": 64,
    "dtype": "float32",
    "temperatures": [0.0, 1.0],
    "requests": 2,
    "max_tokens": 10,
    "max_requests": 8,
    "arrivals": "poisson",
    "repeats": 2,
    "target_devices": "cpu:0",
    "draft_devices": "cpu:1",
}


def request(job=0, arrival=0.0, seconds=2.0, **changes):
    """Ten tokens, two of them at a quarter of the time."""
    values = {
        "job": job,
        "arrival": arrival,
        "first": arrival + seconds / 4,
        "first_tokens": 2,
        "finished": arrival + seconds,
        "tokens": 10,
        "exact": True,
        "passes": 5,
        "verified": 10,
        "accepted": 5,
    }
    return Request(**values | changes)


def run(contender="alone", rate=1.0, repeat=0, each=2.0, **changes):
    """Two requests of so many seconds each, the second after half a gap; slower from repeat to repeat."""
    each *= 1 + repeat
    requests = tuple(request(job, job / (2 * rate), each) for job in (0, 1))
    values = {"seconds": 1 / (2 * rate) + each, "requests": requests}
    return Run(contender=contender, rate=rate, repeat=repeat, **values | changes)


def by(key, runs):
    """As they are, or as transformers has them: one of two answers is compared, and no passes are counted."""
    if key != RIVAL:
        return runs
    plain = {"passes": 0, "verified": 0, "accepted": 0}
    return [
        replace(
            run,
            requests=tuple(replace(r, exact=None if r.job else True, **plain) for r in run.requests),
        )
        for run in runs
    ]


def held(contender="alone", live=4, repeat=0, tokens=100, **changes):
    """A closed loop of two seconds."""
    values = {"seconds": 2.0, "answers": 5, "different": 0}
    return HeldRun(contender, live, repeat, tokens, **values | changes)


def recorded(**changes):
    """The whole; changes are fields of `LoadResults`."""
    runs = [
        each_run
        for repeat in (0, 1)
        for rate in (0.5, 4.0)
        for key, each in SECONDS.items()
        for each_run in by(key, [run(key, rate, repeat, each)])
    ]
    loops = [
        held(key, repeat=repeat, tokens=round(100 * (1 + repeat) / each), answers=0 if key == RIVAL else 5)
        for repeat in (0, 1)
        for key, each in SECONDS.items()
    ]
    values = {
        "settings": SETTINGS,
        "machine": {"cpu": "Test CPU", "cpu_flags": ["avx2"]},
        "contenders": dict.fromkeys(SECONDS, ("--mode", "alone")),
        "rivals": (RIVAL,),
        "table": best_table({1: {0: 30.0, 3: 50.0}, 8: {0: 90.0, 3: 80.0}}, {"target": "demo"}),
        "prompts": [PromptFacts("a", "code", 9), PromptFacts("b", "prose", 9)],
        "jobs": [Job(0, 0.0, 1, 10), Job(1, 1.0, 2, 10)],
        "rates": (0.5, 4.0),
        "capacity": 2.0,
        "runs": runs,
        "held": loops,
    }
    return LoadResults(**values | changes)
