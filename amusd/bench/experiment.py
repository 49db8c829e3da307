"""One benchmark from start to end: choose k, measure in turns, then look at traces and ranks.

Only one contender computes at a time; the others' processes sleep. See benchmarks/README.md.
"""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from amusd.bench.contenders import BY_KEY, Contender, Variant, choose_contenders, variants
from amusd.bench.energy import EnergyMeter
from amusd.bench.machine import machine_facts
from amusd.bench.progress import Progress
from amusd.bench.prompts import choose_prompts
from amusd.bench.rank_drafts import rank_drafts
from amusd.bench.results import PromptFacts, Record, Results
from amusd.bench.runs import Run, Task
from amusd.bench.sessions import Sessions
from amusd.bench.settings import BenchSettings
from amusd.bench.summary import fastest
from amusd.bench.traces import draft_milliseconds, last_request, merge, pass_milliseconds, read_trace
from amusd.errors import InputError
from amusd.models.loading import load_tokenizer

TRACED_CONTENDER = "async"
TUNING_SHARE = 0.4
"""Of the time of a benchmark that has to end: what choosing k may take."""
TOKENS_MIN = 16
"""Below this an output says little, and a slow machine takes longer instead."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an experiment leaves: the results, and the Chrome trace of one request of `async`, if it ran."""

    results: Results
    trace: dict[str, Any] | None


def run_experiment(settings: BenchSettings, progress: Progress, keep: Callable[[Results], object]) -> Outcome:
    """Run everything.

    Args:
        keep: called with the results after each repeat, so that whatever ends the benchmark costs no more
            than the repeat that it falls in.

    Raises:
        InputError: settings that cannot be used together, found before anything starts.
        AmusdError: a contender failed.
    """
    contenders, excluded = choose_contenders(settings)
    started = time.monotonic()
    prompts = choose_prompts(settings.prompts_file, settings.num_prompts + settings.tuning_prompts)
    tokenizer = load_tokenizer(settings.target)
    token_ids = [tuple(tokenizer.encode(prompt.text)) for prompt in prompts]
    facts = [
        PromptFacts(prompt.name, prompt.kind, len(ids))
        for prompt, ids in zip(prompts, token_ids, strict=True)
    ]
    results = Results(settings.to_dict(), machine_facts(), excluded=excluded, prompts=facts)
    with Sessions(settings) as sessions:
        experiment = Experiment(settings, contenders, token_ids, sessions, results, progress, started, keep)
        experiment.tune()
        experiment.load()
        experiment.measure()
        trace = experiment.trace()
    rank_drafts(settings, token_ids, results, progress, len(tokenizer))
    results.seconds = time.monotonic() - started
    return Outcome(results, trace)


class Experiment:
    """The state of one benchmark.

    Args:
        prompts: token ids; those from `settings.num_prompts` on are for tuning.
        results: filled in place.
        started: by `time.monotonic()`.
        keep: called with the results after each repeat.
    """

    def __init__(
        self,
        settings: BenchSettings,
        contenders: Sequence[Contender],
        prompts: Sequence[tuple[int, ...]],
        sessions: Sessions,
        results: Results,
        progress: Progress,
        started: float,
        keep: Callable[[Results], object],
    ) -> None:
        self._settings = settings
        self._contenders = contenders
        self._prompts = prompts
        self._sessions = sessions
        self._results = results
        self._progress = progress
        self._started = started
        self._keep = keep
        self._tokens = settings.max_tokens
        self._meter = EnergyMeter()
        self._chosen: dict[float, list[Variant]] = {}  # by temperature, what is measured
        self._outputs: dict[tuple[str, float], list[tuple[int, ...]]] = {}  # of each variant's first repeat

    # -- choosing k ----------------------------------------------------------------------------

    def tune(self) -> None:
        """Try every setting of the contenders that have several, and keep the fastest for each draft."""
        rivals = [(item, list(variants(item, self._settings))) for item in self._contenders]
        tried = [
            (variant, temperature)
            for contender, options in rivals
            if len(options) > len({variant.draft for variant in options})
            for variant in options
            for temperature in self._settings.temperatures
            if contender.runs_at(temperature)
        ]
        self._progress.begin("choosing k", len(tried))
        for variant, temperature in tried:
            if self._is_late(TUNING_SHARE):
                break  # what was not tried is not chosen
            self._progress.step(f"{variant.key} at temperature {temperature:g}")
            for prompt in range(self._settings.num_prompts, len(self._prompts)):
                self._run("tune", 0, variant, temperature, prompt)
            if temperature == self._settings.temperatures[-1]:
                self._collect_costs(variant)
                if self._settings.seconds_max is None and BY_KEY[variant.contender].system == "amusd":
                    self._sessions.close_one(variant)  # there are many, and few are measured
        for temperature in self._settings.temperatures:
            self._chosen[temperature] = [
                self._choose([v for v in options if v.draft == draft], temperature)
                for contender, options in rivals
                if contender.runs_at(temperature)
                for draft in dict.fromkeys(variant.draft for variant in options)
            ]

    def _is_late(self, share: float, ahead: float = 0.0) -> bool:
        """Whether the share of the time that was given will be over in so many seconds."""
        limit = self._settings.seconds_max
        return limit is not None and time.monotonic() - self._started + ahead > share * limit

    def _choose(self, options: Sequence[Variant], temperature: float) -> Variant:
        records = [record for record in self._results.records if record.temperature == temperature]
        tried = [option for option in options if any(record.variant == option.key for record in records)]
        return fastest(tried, records, "tune") if tried else options[-1]

    # -- measuring -----------------------------------------------------------------------------

    def load(self) -> None:
        """Open and warm up what is measured; shorten the outputs where a first repeat would be too long."""
        settings = self._settings
        self._progress.begin("loading", sum(map(len, self._chosen.values())))
        seconds = 0.0
        for temperature, chosen in self._chosen.items():
            for variant in chosen:
                self._progress.step(f"{variant.key} at temperature {temperature:g}")
                task = Task(self._prompts[0], temperature, 0, settings.max_tokens)
                seconds += settings.num_prompts * self._sessions.prepare(variant, task)
                self._results.engines.setdefault(variant.contender, self._sessions.facts(variant))
        if settings.seconds_max is not None and seconds:
            left = settings.seconds_max - (time.monotonic() - self._started)
            self._tokens = min(settings.max_tokens, max(TOKENS_MIN, int(left / seconds)))
            self._results.settings["max_tokens"] = self._tokens

    def measure(self) -> None:
        """Each repeat runs every chosen variant once at every temperature, in rotated order."""
        settings = self._settings
        steps = settings.repeats * sum(map(len, self._chosen.values()))
        self._progress.begin("measuring", steps)
        shuffled = {
            temperature: random.Random(settings.seed).sample(chosen, len(chosen))
            for temperature, chosen in self._chosen.items()
        }
        for repeat in range(settings.repeats):
            begun = time.monotonic()
            for temperature in settings.temperatures:
                turn = repeat % max(1, len(shuffled[temperature]))
                for variant in shuffled[temperature][turn:] + shuffled[temperature][:turn]:
                    self._progress.step(
                        f"repeat {repeat + 1} of {settings.repeats}: {variant.key} at {temperature:g}"
                    )
                    outputs = [
                        self._run("measure", repeat, variant, temperature, prompt).token_ids
                        for prompt in range(settings.num_prompts)
                    ]
                    self._outputs.setdefault((variant.key, temperature), outputs)
            if not repeat:
                self._keep_reference()
            self._results.seconds = time.monotonic() - self._started
            self._keep(self._results)
            if self._is_late(1.0, ahead=time.monotonic() - begun):
                break
        for variant in {v.key: v for chosen in self._chosen.values() for v in chosen}.values():
            self._collect_costs(variant)

    def _keep_reference(self) -> None:
        """The output that ours have to repeat, and that drafts are ranked on: of `alone`, where it ran."""
        ours = [item for item in self._contenders if item.system == "amusd" and item.placement != "all"]
        if not ours:
            return
        reference = next((item for item in ours if item.mode == "alone"), ours[0]).key
        self._results.reference = reference
        for temperature, chosen in self._chosen.items():
            key = next(variant.key for variant in chosen if variant.contender == reference)
            self._results.references[temperature] = [list(ids) for ids in self._outputs[key, temperature]]

    def _run(
        self,
        phase: Literal["tune", "measure"],
        repeat: int,
        variant: Variant,
        temperature: float,
        prompt: int,
    ) -> Run:
        tokens = self._tokens if phase == "measure" else self._settings.tuning_tokens
        task = Task(self._prompts[prompt], temperature, prompt, tokens)
        self._sessions.prepare(variant, task)
        before = self._meter.read()
        run = self._sessions.run(variant, task)
        joules = self._meter.joules(before, self._meter.read()) if self._meter.is_present else None
        if len(run.token_ids) != tokens:
            remedy = f"prompt {prompt} leaves {variant.key} room for {len(run.token_ids)}; give at most that"
            raise InputError("--max-tokens", tokens, remedy)
        self._results.variants.setdefault(variant.key, variant)
        self._results.records.append(
            Record.of(
                run,
                phase=phase,
                repeat=repeat,
                temperature=temperature,
                variant=variant,
                prompt=prompt,
                joules=joules,
            )
        )
        return run

    # -- afterwards ----------------------------------------------------------------------------

    def _collect_costs(self, variant: Variant) -> None:
        """What passes and draft steps took in an engine of ours, from its trace."""
        session = self._sessions.ours(variant)
        contender, results = BY_KEY[variant.contender], self._results
        if session is None or contender.placement == "all":
            return
        results.exact = results.exact and session.exact
        trace = read_trace(session.trace())
        passes = pass_milliseconds(trace)
        if contender.mode in ("alone", "sync"):
            results.pass_costs = merge([results.pass_costs, passes])
        else:
            costs = results.busy_pass_costs.get(contender.key, {})
            results.busy_pass_costs[contender.key] = merge([costs, passes])
        if contender.mode == "sync" and variant.draft is not None:
            costs = results.draft_costs.get(variant.draft, {})
            results.draft_costs[variant.draft] = merge([costs, draft_milliseconds(trace)])

    def trace(self) -> dict[str, Any] | None:
        """One more request of `async`, traced; at temperature 1, or the one that is nearest."""
        temperature = min(self._settings.temperatures, key=lambda value: abs(value - 1))
        records = [record for record in self._results.records if record.temperature == temperature]
        options = [v for v in self._chosen[temperature] if v.contender == TRACED_CONTENDER]
        if not options:
            return None
        variant = fastest(options, records, "measure")
        self._progress.begin("timeline", 1)
        self._progress.step(variant.key)
        task = Task(self._prompts[0], temperature, 0, self._settings.max_tokens)
        self._sessions.prepare(variant, task)
        self._sessions.run(variant, task)
        session = self._sessions.ours(variant)
        assert session is not None, "it has just run"
        return last_request(session.trace())
