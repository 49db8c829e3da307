"""`amusd doctor`: what this machine has and whether a pair of models runs on it."""

import platform
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version

from rich.console import Console
from rich.text import Text

from amusd import __version__
from amusd.config import RANDOM_DRAFT, EngineConfig
from amusd.devices import available
from amusd.errors import AmusdError
from amusd.llm import LLM
from amusd.models.names import resolve_name
from amusd.prompts import PromptReader

PACKAGES = ("torch", "transformers", "tokenizers", "ray", "grpcio", "protobuf", "msgpack")

Lines = Iterator[tuple[int, str]]
"""Depth and text of each line."""


def run(engine: EngineConfig) -> int:
    """Print every section; the exit code is 1 when one of them failed."""
    console = Console(highlight=False)
    sections: list[tuple[str, Callable[[], Lines]]] = [
        ("versions", _versions),
        ("devices", _devices),
        ("tokenizers", lambda: _tokenizers(engine)),
        ("workers", lambda: _workers(engine)),
    ]
    failed = 0
    for title, section in sections:
        console.print(Text(title, style="bold"))
        try:
            for depth, line in section():
                console.print(Text("  " * (depth + 1) + line), soft_wrap=True)
        except AmusdError as error:
            failed += 1
            console.print(Text(f"  {error}", style="red"), soft_wrap=True)
    verdict = (
        Text(f"{failed} of {len(sections)} sections failed", style="red") if failed else Text("all is well")
    )
    console.print(verdict)
    return 1 if failed else 0


def _versions() -> Lines:
    yield 0, f"amusd {__version__}"
    yield 0, f"Python {platform.python_version()} ({sys.executable}), {platform.platform()}"
    for package in PACKAGES:
        try:
            yield 0, f"{package} {version(package)}"
        except PackageNotFoundError:
            yield 0, f"{package} is not installed"


def _devices() -> Lines:
    yield 0, str(available())


def _tokenizers(engine: EngineConfig) -> Lines:
    size = len(PromptReader(engine).tokenizer)
    models = [draft for draft in engine.model_drafts if draft != RANDOM_DRAFT]
    if not models:
        yield 0, f"{engine.target}: {size} tokens; there is no draft to compare with"
    for draft in models:
        yield 0, f"{engine.target} and {draft} give the same text to each of {size} tokens"


def _workers(engine: EngineConfig) -> Lines:
    """Starts them, on which the target checks its device; then the draft's device is checked the same way."""
    with LLM.from_reader(PromptReader(engine)) as llm:
        info = llm.info()
    yield from describe(info)
    # Drafts take shapes that need not agree, so their workers check nothing: what the device can do is asked
    # of the same model as a target there, in place of the draft.
    for index, draft in enumerate(engine.model_drafts):
        if draft == RANDOM_DRAFT:
            continue
        swapped = {
            "target_devices": info[f"draft {index}"]["device"],
            "draft_devices": info["target"]["device"],
        }
        roles = {
            "target": resolve_name(draft, "draft"),
            "draft": RANDOM_DRAFT,
            "revision": engine.draft_revision,
        }
        changed = {**roles, **swapped, "draft_revision": None, "widen": 0, "quantization_config": None}
        config = EngineConfig(**{**engine.model_dump(), **changed})
        with LLM.from_reader(PromptReader(config)) as llm:
            check = llm.info()["target"]["self_check"]
        yield from describe({f"device of draft {index}, with {draft} as a target": {"self_check": check}})


def describe(values: Mapping[str, object], depth: int = 0) -> Lines:
    """Nested values as indented `name: value` lines."""
    for name, value in values.items():
        label = str(name).replace("_", " ")
        if isinstance(value, Mapping):
            yield depth, label
            yield from describe(value, depth + 1)
        elif isinstance(value, list | tuple) and any(isinstance(item, str | Mapping) for item in value):
            yield depth, label
            for item in value:
                yield from (
                    describe(item, depth + 1) if isinstance(item, Mapping) else iter([(depth + 1, str(item))])
                )
        elif isinstance(value, float):
            yield depth, f"{label}: {value:.3g}"
        else:
            yield depth, f"{label}: {value}"
