"""`amusd generate`: one prompt through an engine, shown as it is written."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack

from amusd.cli.inputs import Job
from amusd.cli.screens import choose_screen
from amusd.llm import LLM
from amusd.outputs import Chunk
from amusd.prompts import PromptReader


def run(job: Job) -> None:
    """Start the engine, decode, show, and write the trace where one is wanted.

    Raises:
        AmusdError: as `LLM` does.
    """
    screen = choose_screen(as_json=job.as_json, rule=job.engine.rule_in_use)
    with ExitStack() as stack:
        with screen.loading():
            reader = PromptReader(job.engine)
            prompt = reader.read_chat(job.prompt) if job.chat else reader.read(job.prompt)
            reader.check(prompt, job.params)  # before anything is started
            llm = stack.enter_context(LLM.from_reader(reader, screen.tell))
        for chunk in one_by_one(llm.stream(prompt, job.params)):
            screen.show(chunk)
            if chunk.finished is not None:
                screen.finish(chunk.finished)
        if job.trace is not None:
            llm.write_trace(job.trace)
            screen.tell(f"trace written to {job.trace}: open it in ui.perfetto.dev")


def one_by_one(chunks: Iterable[Chunk]) -> Iterator[Chunk]:
    """Chunks of several outputs: those of output 0 as they come, the others' when it is their turn."""
    waiting: dict[int, list[Chunk]] = defaultdict(list)
    turn = 0
    for chunk in chunks:
        waiting[chunk.index].append(chunk)
        while waiting[turn]:
            ready = waiting[turn]
            waiting[turn] = []
            yield from ready
            turn += ready[-1].finished is not None
