"""Everything that one load benchmark measured, its JSON form, and what is made of it."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from amusd.bench.load.jobs import Job
from amusd.bench.load.measures import (
    Comparison,
    HeldMeasures,
    Measures,
    compare,
    measure,
    measure_held,
)
from amusd.bench.load.runs import HeldRun, Request, Run
from amusd.bench.load.settings import ALONE
from amusd.bench.results import PromptFacts
from amusd.errors import InputError
from amusd.policies.table import SpeculationTable

FORMAT: Final = "load 2"
JUDGED: Final = "goodput"
"""The contender that is compared with the best of the others."""


@dataclass(slots=True)
class LoadResults:
    """One load benchmark.

    Args:
        settings: `LoadSettings.to_dict`.
        machine: `machine_facts`.
        contenders: the options of each one's server, by key; of transformers what it says about itself.
        rivals: keys of those that are not ours: whether their text agrees is a fact, no judgement.
        prompts: as they were used; job.prompt is an index.
        jobs: in the order of arrival; request.job is an index.
        rates: that were offered, ascending.
        capacity: requests per second of the target alone with all of them at once; None where the rates were
            given.
        table: which the contender of that name followed; None without it.
        exact: whether the target's self-check says that its passes agree bit for bit here.
        runs: open loops.
        held: closed loops.
        seconds: how long all of it took.
    """

    settings: dict[str, Any]
    machine: dict[str, Any]
    contenders: dict[str, tuple[str, ...]]
    prompts: list[PromptFacts]
    jobs: list[Job]
    rivals: tuple[str, ...] = ()
    table: SpeculationTable | None = None
    rates: tuple[float, ...] = ()
    capacity: float | None = None
    exact: bool = True
    runs: list[Run] = field(default_factory=list)
    held: list[HeldRun] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def drafts(self) -> str:
        """All of them by name; results from before there were lookups name the model only."""
        return ", ".join((self.settings["draft"], *self.settings.get("lookups", ())))

    def measures(self) -> list[Measures]:
        """Of every rate and contender that ran."""
        kinds = [self.prompts[job.prompt].kind for job in self.jobs]
        return [
            measure(runs, self._runs(ALONE, rate), kinds)
            for rate in self.rates
            for key in self.contenders
            if (runs := self._runs(key, rate))
        ]

    def held_measures(self) -> list[HeldMeasures]:
        """Of every number of live requests and contender that ran, over the target alone and every rival."""
        return [
            measure_held(runs, {other: self._held(other, live) for other in (ALONE, *self.rivals)})
            for live in sorted({run.live for run in self.held})
            for key in self.contenders
            if (runs := self._held(key, live))
        ]

    def comparisons(self, measures: Sequence[Measures]) -> list[Comparison]:
        """`goodput` against the best of the others at each rate, where both ran."""
        found = []
        for ours in measures:
            others = [item for item in measures if item.rate == ours.rate and item is not ours]
            if ours.contender == JUDGED and (comparison := compare(ours, others)) is not None:
                found.append(comparison)
        return found

    def different(self) -> list[str]:
        """The contenders of ours of which an answer differed from that of the target alone."""
        found = {run.contender for run in self.runs if any(item.exact is False for item in run.requests)}
        found |= {run.contender for run in self.held if run.different}
        return [key for key in self.contenders if key in found and key not in self.rivals]

    def _runs(self, key: str, rate: float) -> list[Run]:
        found = [run for run in self.runs if (run.contender, run.rate) == (key, rate)]
        return sorted(found, key=lambda run: run.repeat)

    def _held(self, key: str, live: int) -> list[HeldRun]:
        found = [run for run in self.held if (run.contender, run.live) == (key, live)]
        return sorted(found, key=lambda run: run.repeat)

    def write(self, path: Path) -> None:
        """Write the JSON file in one piece, with what was made of the runs beside them."""
        measures = self.measures()
        plain = {
            "measures": [asdict(item) for item in measures],
            "held_measures": [asdict(item) for item in self.held_measures()],
            "comparisons": [asdict(item) for item in self.comparisons(measures)],
        }
        text = json.dumps({"format": FORMAT, **asdict(self), **plain}, indent=1)
        part = path.with_name(path.name + ".part")
        part.write_text(text + "\n", encoding="utf-8")
        part.replace(path)

    @classmethod
    def from_dict(cls, values: Any) -> Self:
        """Read what `write` wrote.

        Raises:
            ValueError: it is none; says what is wrong.
        """
        found = values.get("format") if isinstance(values, dict) else type(values).__name__
        if found != FORMAT:
            raise ValueError(f"its format is {found}, not {FORMAT}")
        plain: dict[str, Any] = {name: value for name, value in values.items() if name in cls.__slots__}
        plain |= {
            "contenders": {key: tuple(options) for key, options in values["contenders"].items()},
            "prompts": [PromptFacts(**item) for item in values["prompts"]],
            "jobs": [Job(**item) for item in values["jobs"]],
            "rates": tuple(values["rates"]),
            "rivals": tuple(values["rivals"]),
            "table": None if values["table"] is None else SpeculationTable.from_dict(values["table"]),
            "held": [HeldRun(**run) for run in values["held"]],
            "runs": [
                Run(**run | {"requests": tuple(Request(**item) for item in run["requests"])})
                for run in values["runs"]
            ],
        }
        return cls(**plain)


def read_load_results(path: Path) -> LoadResults:
    """Read a results file.

    Raises:
        InputError: it cannot be read as one.
    """
    try:
        return LoadResults.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        problem = f"cannot be read ({type(error).__name__}: {error})"
        raise InputError("results", str(path), f"{problem}; give what amusd bench --load wrote") from None
