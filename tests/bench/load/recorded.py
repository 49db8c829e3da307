"""A small load benchmark's results, made up: two rates, two repeats, round numbers."""

from amusd.bench.load.jobs import Job
from amusd.bench.load.results import LoadResults
from amusd.bench.load.runs import Request, Run
from amusd.bench.results import PromptFacts

SECONDS = {"alone": 2.0, "fixed k=3": 1.6, "goodput": 1.0}  # of a request
SETTINGS = {
    "target": "demo",
    "draft": "demo-large",
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


def recorded(**changes):
    """The whole; changes are fields of `LoadResults`."""
    runs = [
        run(key, rate, repeat, each)
        for repeat in (0, 1)
        for rate in (0.5, 4.0)
        for key, each in SECONDS.items()
    ]
    values = {
        "settings": SETTINGS,
        "machine": {"cpu": "Test CPU", "cpu_flags": ["avx2"]},
        "contenders": dict.fromkeys(SECONDS, ("--mode", "alone")),
        "prompts": [PromptFacts("a", "code", 9)],
        "jobs": [Job(0, 0.0, 1, 10), Job(0, 1.0, 2, 10)],
        "rates": (0.5, 4.0),
        "capacity": 2.0,
        "runs": runs,
    }
    return LoadResults(**values | changes)
