"""How a request is shown: styled in a terminal, plain in a pipe, or as one JSON object.

The text, or the object, goes to the standard output; everything said about it to the standard error.
"""

import json
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from typing import Protocol

from rich.color import ColorSystem
from rich.console import Console
from rich.style import Style
from rich.table import Table
from rich.text import Text

from amusd.config import IN_DISTRIBUTION, exact_in
from amusd.outputs import Chunk, DrafterMetrics, RequestOutput
from amusd.speculation.messages import Origin

STYLES: dict[Origin, Style] = {
    "accepted": Style(color="green"),
    "own": Style(bold=True),
    "foreseen": Style(bold=True, color="cyan"),
}

# What a model writes must not drive the terminal: control characters other than tab and newline.
_CONTROLS = [code for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n"]
_HARMLESS = dict.fromkeys(_CONTROLS, "\N{REPLACEMENT CHARACTER}")


class Screen(Protocol):
    """Where one request is shown."""

    def loading(self) -> AbstractContextManager[object]:
        """The time in which the engine starts."""

    def tell(self, event: str) -> None:
        """One line about the engine, from any thread."""

    def show(self, chunk: Chunk) -> None:
        """Text as it commits."""

    def finish(self, output: RequestOutput) -> None:
        """The request is done."""


def choose_screen(*, as_json: bool, rule: str | None) -> Screen:
    """The screen that fits the standard output.

    Args:
        as_json: one JSON object is wanted.
        rule: by which drafts are accepted; None: there are none, and nothing about drafts is shown.
    """
    if as_json:
        return JsonScreen(rule)
    return TerminalScreen(rule) if sys.stdout.isatty() else PlainScreen(rule)


class JsonScreen:
    """One JSON object on the standard output."""

    def __init__(self, rule: str | None) -> None:
        self._rule = rule

    def loading(self) -> AbstractContextManager[object]:
        """Nothing to show."""
        return nullcontext()

    def tell(self, event: str) -> None:
        """A line on the standard error."""
        print(event, file=sys.stderr, flush=True)

    def show(self, chunk: Chunk) -> None:
        """The object comes at the end."""

    def finish(self, output: RequestOutput) -> None:
        """Print the object, and on the standard error what happened beside decoding."""
        for note in output.notes:
            self.tell(note)
        found = as_object(output) | {"rule": self._rule, "exact": exact_in(self._rule)}
        print(json.dumps(found), flush=True)


class PlainScreen:
    """The text, as it is and with a newline after it; the summary as lines on the standard error."""

    def __init__(self, rule: str | None) -> None:
        self._rule = rule

    def loading(self) -> AbstractContextManager[object]:
        """Nothing to show."""
        return nullcontext()

    def tell(self, event: str) -> None:
        """A line on the standard error."""
        print(event, file=sys.stderr, flush=True)

    def show(self, chunk: Chunk) -> None:
        """Write the text at once, so that a reader sees it grow."""
        print(chunk.text, end="", flush=True)

    def finish(self, output: RequestOutput) -> None:
        """End the last line and print the summary; another output may follow."""
        print(flush=True)
        for name, value in summary(output, self._rule):
            self.tell(f"{name}: {value}")
        for note in output.notes:
            self.tell(f"note: {note}")


class TerminalScreen:
    """Streamed text that tells accepted draft tokens from the target's own, then a short table."""

    def __init__(self, rule: str | None) -> None:
        self._rule = rule
        self._text = Console(highlight=False)
        self._side = Console(stderr=True, highlight=False)
        self._streaming = False

    def loading(self) -> AbstractContextManager[object]:
        """A spinner below the events."""
        return self._side.status("starting the workers")

    def tell(self, event: str) -> None:
        """Print an event in grey; while text streams there is no line for it to stand on.

        What happens then is in the notes of the finished request.
        """
        if not self._streaming:
            self._side.print(Text(event, style="dim"), soft_wrap=True)

    def show(self, chunk: Chunk) -> None:
        """Write each run of text in the style of who wrote it."""
        self._streaming = True
        for text, origin in chunk.spans:
            self._text.file.write(self._styled(text.translate(_HARMLESS), origin))
        self._text.file.flush()

    def _styled(self, text: str, origin: Origin) -> str:
        """Text with its control sequences; rich's own printing would expand tabs by the wrong column."""
        style = STYLES[origin]
        if self._text.no_color:
            style = style.without_color
        return style.render(text, color_system=ColorSystem.STANDARD if self._text.color_system else None)

    def finish(self, output: RequestOutput) -> None:
        """End the text and print the table."""
        self._streaming = False
        self._text.print()
        table = Table.grid(padding=(0, 2))
        for name, value in summary(output, self._rule):
            table.add_row(Text(name, style="dim"), value)
        self._side.print()
        if self._rule is not None:
            legend = Text.assemble(
                ("accepted draft tokens", STYLES["accepted"]),
                ", ",
                ("the target's own", STYLES["own"]),
                ", ",
                ("its own that a branch held", STYLES["foreseen"]),
            )
            self._side.print(legend)
        self._side.print(table)
        for note in output.notes:
            self._side.print(Text(f"note: {note}", style="yellow"), soft_wrap=True)


def summary(output: RequestOutput, rule: str | None) -> list[tuple[str, str]]:
    """Names and values of what a reader wants to know of a request, in the terms of the design."""
    metrics = output.metrics
    rows = [
        ("output", f"{len(output.token_ids)} tokens, ended by {output.finish_reason}, seed {output.seed}"),
        ("speed", f"{metrics.tokens_per_second:.1f} tokens/s"),
        ("target passes", f"{metrics.passes}"),
    ]
    if rule is None:
        return rows
    if exact_in(rule) == "distribution":
        rows.append((f"rule {rule}", IN_DISTRIBUTION))
    rows += [
        ("acceptance rate (TAR)", f"{metrics.acceptance_rate:.1%}"),
        ("mean acceptance length", f"{metrics.mean_acceptance_length:.2f} tokens"),
        *((f"through {each.name}", _credit(each)) for each in metrics.drafters if len(metrics.drafters) > 1),
        ("rollbacks", f"{metrics.rollbacks}"),
        ("foreseen corrections", f"{metrics.foreseen_corrections}"),
        ("stale nodes", f"{metrics.stale_nodes}"),
    ]
    if metrics.overlap is not None and metrics.useful_overlap is not None:
        rows += [
            ("both sides computed", f"{metrics.overlap:.1%} of the decode time"),
            ("both usefully", f"{metrics.useful_overlap:.1%} of the decode time"),
        ]
    return rows


def _credit(drafter: DrafterMetrics) -> str:
    """What came of one of several drafters."""
    return f"{drafter.accepted} of {drafter.verified} verified accepted, {drafter.accepted_alone} its alone"


def as_object(output: RequestOutput) -> dict[str, object]:
    """A request as plain values."""
    found: dict[str, object] = {
        "text": output.text,
        "token_ids": list(output.token_ids),
        "finish_reason": output.finish_reason,
        "seed": output.seed,
        "metrics": output.metrics.to_dict(),
    }
    if output.logprobs is not None:
        found["logprobs"] = [
            {token: asdict(logprob) for token, logprob in row.items()} for row in output.logprobs
        ]
    return found
