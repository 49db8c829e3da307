"""`amusd generate`: one prompt through an engine, shown as it is written."""

from contextlib import ExitStack

from amusd.cli.inputs import Job
from amusd.cli.screens import choose_screen
from amusd.llm import LLM
from amusd.outputs import RequestOutput
from amusd.prompts import PromptReader


def run(job: Job) -> None:
    """Start the engine, decode, show, and write the trace where one is wanted.

    Raises:
        AmusdError: as `LLM` does.
    """
    screen = choose_screen(as_json=job.as_json, alone=job.engine.mode == "alone", rule=job.engine.rule)
    with ExitStack() as stack:
        with screen.loading():
            reader = PromptReader(job.engine)
            prompt = reader.read_chat(job.prompt) if job.chat else reader.read(job.prompt)
            reader.check(prompt, job.params)  # before anything is started
            llm = stack.enter_context(LLM.from_reader(reader, screen.tell))
        output: RequestOutput | None = None
        for chunk in llm.stream(prompt, job.params):
            screen.show(chunk)
            output = chunk.finished or output
        assert output is not None, "a stream ends with the finished request"
        screen.finish(output)
        if job.trace is not None:
            llm.write_trace(job.trace)
            screen.tell(f"trace written to {job.trace}: open it in ui.perfetto.dev")
