"""Has each draft rank the tokens of the reference outputs, in a process of its own (see `ranks`)."""

from collections.abc import Sequence

from amusd.bench.progress import Progress
from amusd.bench.results import Results
from amusd.bench.rivals import RivalProcess
from amusd.bench.settings import BenchSettings
from amusd.config import RANDOM_DRAFT


def rank_drafts(
    settings: BenchSettings,
    prompts: Sequence[Sequence[int]],
    results: Results,
    progress: Progress,
    vocabulary_size: int,
) -> None:
    """Fill in `results.ranks`; nothing to do without reference outputs, or for a draft that guesses blindly.

    Args:
        prompts: token ids of the measured prompts, of which each output's seed is the number.
        vocabulary_size: of the tokenizer.
    """
    drafts = [draft for draft in settings.drafts if draft != RANDOM_DRAFT] if results.references else []
    progress.begin("ranks of the target's tokens", len(drafts))
    for draft in drafts:
        progress.step(draft)
        options = {"draft": draft, "dtype": settings.dtype, "vocabulary_size": vocabulary_size}
        process = RivalProcess("ranks", settings.target_devices, options)
        try:
            results.ranks[draft] = {
                temperature: [
                    _ranks(process, prompts[number], output, temperature, number)
                    for number, output in enumerate(outputs)
                ]
                for temperature, outputs in results.references.items()
            }
        finally:
            process.close()


def _ranks(
    process: RivalProcess, prompt: Sequence[int], output: list[int], temperature: float, seed: int
) -> list[int]:
    request = {"prompt": list(prompt), "output": output, "temperature": temperature, "seed": seed}
    ranks: list[int] = process.ask(request)["ranks"]
    return ranks
