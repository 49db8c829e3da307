"""Decode one prompt with the target alone and together with its draft, and show both side by side.

The embedded target is widened, so that it costs like a large model; the text stays its own. Both runs use
the same target device, the draft's is extra. Exits with 1 when the texts differ.

    python cluster/jobs/quickstart.py [--max-tokens 200] [--temperature 0.7] [--launcher ray]
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from amusd import LLM, AmusdError, RequestOutput, SamplingParams
from amusd.devices import available, default_devices

PROMPT = '''class Stack:
    """A stack of items."""

    def __init__(self):
        self._items = []

    def push(self, item):
        self._items.append(item)

    def pop(self):'''
WARM_UP_TOKENS = 16


@dataclass(frozen=True, slots=True)
class Run:
    """What one mode gave."""

    mode: str
    devices: str
    output: RequestOutput


def main(arguments: Sequence[str] | None = None) -> int:
    """Run both modes and compare; the exit code."""
    options = read_options(arguments)
    console = Console(highlight=False, markup=False)
    params = SamplingParams(max_tokens=options.max_tokens, temperature=options.temperature, seed=options.seed)

    def tell(line: str) -> None:
        console.print(f"  {line}", style="dim", soft_wrap=True)

    target, (draft,) = default_devices(available())
    console.print(Text.assemble(("prompt\n", "bold"), options.prompt))
    runs = []
    for mode, devices in (("alone", f"{target}"), ("async", f"{target} + {draft}")):
        console.print(Text(f"{mode} on {devices}", style="bold"))
        engine = {
            "target": "demo",
            "widen": options.widen,
            "mode": mode,
            "launcher": options.launcher,
            "target_devices": str(target),
        }
        if mode != "alone":
            engine |= {"draft": "demo", "draft_devices": str(draft)}
        with LLM(**engine, on_event=tell) as llm:
            llm.generate(options.prompt, params.model_copy(update={"max_tokens": WARM_UP_TOKENS}))
            [output] = llm.generate(options.prompt, params)
        runs.append(Run(mode, devices, output))
    show(console, runs)
    alone, drafted = (run.output for run in runs)
    if alone.token_ids == drafted.token_ids and alone.text.encode() == drafted.text.encode():
        size = f"{len(alone.token_ids)} tokens, {len(alone.text.encode())} bytes"
        console.print(Text(f"The two texts are equal, byte for byte ({size}).", style="bold green"))
        return 0
    console.print(Text("The two texts differ. They must not: please report this.", style="bold red"))
    return 1


def read_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The job's own options."""
    parser = argparse.ArgumentParser(
        description="Decode one prompt with the target alone and with its draft."
    )
    parser.add_argument("--prompt", default=PROMPT)
    parser.add_argument("--max-tokens", type=int, default=200)
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--widen", type=int, default=12288, help="FFN neurons of the widened target")
    parser.add_argument("--launcher", choices=("ray", "local"), default="ray")
    return parser.parse_args(arguments)


def show(console: Console, runs: Sequence[Run]) -> None:
    """Both texts side by side, then both speeds."""
    texts = Table(expand=True, show_lines=True)
    for run in runs:
        texts.add_column(run.mode, ratio=1, overflow="fold")
    texts.add_row(*(Text(run.output.text) for run in runs))
    console.print(texts)
    speeds = Table("mode", "devices", "tokens/s", "times alone", "accepted", "tokens per pass")
    base = runs[0].output.metrics.tokens_per_second
    for run in runs:
        metrics = run.output.metrics
        times = f"{metrics.tokens_per_second / base:.2f}" if base else "-"
        accepted = "-" if run.mode == "alone" else f"{metrics.acceptance_rate:.0%}"
        speed = f"{metrics.tokens_per_second:.1f}"
        speeds.add_row(run.mode, run.devices, speed, times, accepted, f"{metrics.mean_acceptance_length:.2f}")
    console.print(speeds)
    for run in runs:
        for note in run.output.notes:
            console.print(Text(f"{run.mode}: {note}", style="yellow"))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except AmusdError as error:
        sys.exit(f"quickstart: {error}")
