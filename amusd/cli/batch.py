"""`amusd batch`: a file of prompts through an engine, into a file of results."""

import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from amusd.cli.batch_input import Line, read_lines
from amusd.cli.batch_output import BatchOutput
from amusd.config import IN_DISTRIBUTION, EngineConfig, exact_in
from amusd.llm import LLM
from amusd.outputs import RequestOutput
from amusd.params import SamplingParams
from amusd.prompts import PromptReader

PROGRESS_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class BatchJob:
    """One `amusd batch`."""

    source: Path
    destination: Path
    engine: EngineConfig
    params: SamplingParams
    as_json: bool


@dataclass(slots=True)
class Report:
    """What a run did: lines, tokens, speed, and how well the draft guessed.

    Attributes:
        rule: the engine's, by which drafts were accepted where a line asked for no other; None without a
            draft.
    """

    lines: int
    resumed: int
    rule: str | None
    started: float = field(default_factory=time.monotonic)
    decoded: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    passes: int = 0
    verified: int = 0
    accepted: int = 0
    finish_reasons: Counter[str] = field(default_factory=Counter)

    def add(self, output: RequestOutput) -> None:
        """Count one line's outputs."""
        self.decoded += 1
        self.prompt_tokens += len(output.prompt_token_ids)
        for each in output.outputs:
            self.output_tokens += len(each.token_ids)
            self.passes += each.metrics.passes
            self.verified += each.metrics.verified
            self.accepted += each.metrics.accepted
            self.finish_reasons[each.finish_reason] += 1

    @property
    def seconds(self) -> float:
        """Since the engine was ready."""
        return time.monotonic() - self.started

    def progress(self) -> str:
        """One line for a log."""
        done, seconds = self.resumed + self.decoded, self.seconds
        left = (self.lines - done) * seconds / self.decoded
        speed = self.output_tokens / seconds
        return f"{done} of {self.lines} lines, {speed:.1f} tokens/s, {left:.0f} s left"

    def to_dict(self) -> dict[str, Any]:
        """Plain values by name; rates are None where nothing was counted."""
        seconds = self.seconds
        return {
            "lines": self.lines,
            "resumed": self.resumed,
            "decoded": self.decoded,
            "rule": self.rule,
            "exact": exact_in(self.rule),
            "prompt_tokens": self.prompt_tokens,
            "output_tokens": self.output_tokens,
            "seconds": round(seconds, 3),
            "tokens_per_second": round(self.output_tokens / seconds, 3) if self.decoded else None,
            "acceptance_rate": round(self.accepted / self.verified, 4) if self.verified else None,
            "mean_acceptance_length": round(self.output_tokens / self.passes, 3) if self.passes else None,
            "finish_reasons": dict(self.finish_reasons),
        }


def run(job: BatchJob) -> None:
    """Check every line, decode what has no result yet, and say what was done.

    Raises:
        InputError: a line or the output file is refused; nothing was started.
        AmusdError: as `LLM` does; the results so far are kept, and the next run goes on behind them.
    """
    reader = PromptReader(job.engine)
    lines = read_lines(job.source, reader, job.params)
    with BatchOutput(job.destination, lines) as output:
        report = Report(len(lines), output.done, job.engine.rule_in_use)
        if output.done:
            _tell(f"{output.done} of {len(lines)} lines have their result in {job.destination}")
        if output.done < len(lines):
            with LLM.from_reader(reader, _tell) as llm:
                report.started = time.monotonic()
                _decode(llm, lines[output.done :], output, report)
    _show(report.to_dict(), job.as_json)


def _decode(llm: LLM, lines: Sequence[Line], output: BatchOutput, report: Report) -> None:
    told = time.monotonic()
    with closing(llm.generate_each((line.tokens, line.params, line.wishes) for line in lines)) as results:
        for line, result in zip(lines, results, strict=True):
            output.write(line, result)
            report.add(result)
            for note in result.notes:
                _tell(f"line {line.number}: {note}")
            if time.monotonic() - told >= PROGRESS_SECONDS:
                told = time.monotonic()
                _tell(report.progress())


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _show(report: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(report))
        return
    table = Table.grid(padding=(0, 2))
    for name, value in report.items():
        if name == "finish_reasons":
            value = ", ".join(f"{reason} {count}" for reason, count in value.items())
        elif name == "exact" and value == "distribution":
            value = IN_DISTRIBUTION
        table.add_row(name.replace("_", " "), "-" if value in (None, "") else str(value))
    Console(highlight=False, markup=False).print(table)
