"""The lines of a batch: JSON objects, all checked before a worker starts."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from amusd.errors import InputError
from amusd.params import SamplingParams
from amusd.prompts import PromptReader
from amusd.wishes import Wishes

KEYS: Final = ("id", "prompt", "messages", "params", *Wishes.model_fields)
SHOWN_CHARACTERS_MAX: Final = 80


@dataclass(frozen=True, slots=True)
class Line:
    """One request of a batch.

    Attributes:
        number: of the line in its file, from 1.
        id: the line's own name for it; None if it has none.
        tokens: of the prompt.
        digest: of everything that decides its text, so that a result is known to be this line's.
    """

    number: int
    id: str | int | None
    tokens: tuple[int, ...]
    params: SamplingParams
    wishes: Wishes
    digest: str


def read_lines(path: Path, reader: PromptReader, params: SamplingParams) -> list[Line]:
    """Read and check a whole file; empty lines are passed over.

    Args:
        params: of every line, beside what a line says itself.

    Raises:
        InputError: the file cannot be read, or a line, which it names by its number, is refused.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError("input", str(path), f"cannot be read ({error.strerror}); check the path") from None
    lines = []
    for number, line in enumerate(content.split(b"\n"), start=1):
        if line.strip():
            try:
                lines.append(_read_line(number, line, reader, params))
            except InputError as error:
                raise InputError(f"{path}:{number}: {error.field}", error.value, error.remedy) from None
    return lines


def _read_line(number: int, line: bytes, reader: PromptReader, params: SamplingParams) -> Line:
    try:
        found = json.loads(line)
    except ValueError as error:  # UnicodeDecodeError is one
        shown = line.decode(errors="replace")[:SHOWN_CHARACTERS_MAX]
        raise InputError("line", shown, f"is not JSON in UTF-8: {error}") from None
    if not isinstance(found, dict):
        raise InputError(
            "line", str(found)[:SHOWN_CHARACTERS_MAX], 'give an object such as {"prompt": "..."}'
        )
    for key in found.keys() - set(KEYS):
        raise InputError(key, found[key], f"there is no such key; choose from {', '.join(KEYS)}")
    name = found.get("id")
    if not isinstance(name, str | int | None) or isinstance(name, bool):
        raise InputError("id", name, "give text or a whole number")
    settings = _line_params(found.get("params", {}), params)
    wishes = Wishes.from_dict({key: found[key] for key in Wishes.model_fields.keys() & found.keys()})
    tokens = tuple(_line_tokens(found, reader))
    reader.check(tokens, settings)
    return Line(number, name, tokens, settings, wishes, _digest(reader, tokens, settings))


def _line_params(given: object, params: SamplingParams) -> SamplingParams:
    """What the command line says, with what the line says in its place."""
    if not isinstance(given, Mapping):
        raise InputError("params", given, "give an object with sampling parameters by name")
    return SamplingParams(**{**params.model_dump(exclude_unset=True), **given}) if given else params


def _line_tokens(found: Mapping[str, Any], reader: PromptReader) -> list[int]:
    if ("prompt" in found) == ("messages" in found):
        raise InputError("prompt", found.get("prompt", "(not given)"), "give either prompt or messages")
    if "prompt" in found:
        return reader.read(found["prompt"])
    messages = found["messages"]
    if not isinstance(messages, list) or not all(map(_is_message, messages)):
        raise InputError("messages", messages, 'give a list of objects {"role": "...", "content": "..."}')
    return reader.read_messages(messages)


def _is_message(message: object) -> bool:
    return (
        isinstance(message, dict)
        and message.keys() == {"role", "content"}
        and all(isinstance(text, str) for text in message.values())
    )


def _digest(reader: PromptReader, tokens: tuple[int, ...], params: SamplingParams) -> str:
    """Of what the target's text depends on, as far as the command says it."""
    engine = reader.config
    model = (engine.target, engine.revision, engine.dtype)
    decided = [model, tokens, params.model_dump(exclude={"logits_processors"})]
    return hashlib.sha256(json.dumps(decided, sort_keys=True).encode()).hexdigest()[:16]
