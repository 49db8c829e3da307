"""What is decoded: held-out code, copying and prose of the embedded pair, or the caller's own file.

Each prompt has a kind, because acceptance depends on it: code is what the pair was trained on, copying is
the easiest (editing repeats most of what is there), prose the hardest.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

from amusd.errors import InputError
from amusd.models.names import DEMO_FOLDER

EMBEDDED_FILE = DEMO_FOLDER / "prompts.jsonl"
PROSE_CHARACTERS = 400  # about as many tokens as the code prompts have
_FORM = '{"prompt": "text"} or {"turns": ["text", ...]}'
# Five words or more with nothing between them that code would have, after which no block begins.
_PROSE_LINE = re.compile(
    r"\s*(?:#+ )?((?!return |if |elif |for )[A-Za-z][a-z']*"
    r"(?:[,.;]? +['(]?[A-Za-z][A-Za-z'-]*\)?){4,}[.,;]?)\s*"
)


@dataclass(frozen=True, slots=True)
class Prompt:
    """One text to continue; ``kind`` is shown with its results."""

    name: str
    kind: str
    text: str


def choose_prompts(file: Path | None, count: int) -> list[Prompt]:
    """The first ``count`` prompts of a file, or of the embedded ones.

    Raises:
        InputError: there are too few, or a line cannot be used.
    """
    prompts = embedded_prompts() if file is None else read_prompts(file)
    if len(prompts) < count:
        source = "the embedded file" if file is None else str(file)
        remedy = f"{source} has {len(prompts)} prompts, tuning ones included {count} are needed; give fewer"
        raise InputError("--num-prompts", count, remedy)
    return prompts[:count]


def embedded_prompts() -> list[Prompt]:
    """Code, copying and prose in turns, all from files that neither model was trained on."""
    rows = [json.loads(line) for line in EMBEDDED_FILE.read_text(encoding="utf-8").splitlines()]
    # The two halves: no code prompt is also the text that another prompt copies.
    code, copied = rows[: len(rows) // 2], rows[len(rows) // 2 :]
    kinds = (
        [Prompt(_place(row), "code", row["prompt"]) for row in code],
        [Prompt(_place(row), "copy", _repeated(row["prompt"])) for row in copied],
        list(_prose(rows)),
    )
    return [prompt for prompt in chain.from_iterable(zip_longest(*kinds)) if prompt is not None]


def read_prompts(file: Path) -> list[Prompt]:
    """Prompts of a JSON Lines file: objects with ``prompt``, or ``turns`` of which the first is taken.

    The latter is the form of Spec-Bench (github.com/hemingkx/Spec-Bench), whose ``category`` becomes the
    kind.

    Raises:
        InputError: names the file, the line and the field.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            "--prompts", str(file), f"cannot be read ({error}); give a JSON Lines file"
        ) from None
    prompts = [
        _read_line(f"{file}, line {number}", line) for number, line in enumerate(lines, 1) if line.strip()
    ]
    if not prompts:
        raise InputError("--prompts", str(file), f"has no lines; give one {_FORM} a line")
    return prompts


def _read_line(where: str, line: str) -> Prompt:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise InputError("--prompts", where, f"is not JSON ({error}); give {_FORM}") from None
    if not isinstance(row, dict):
        raise InputError("--prompts", where, f"is not an object; give {_FORM}")
    if ("prompt" in row) == ("turns" in row):
        problem = "both prompt and turns" if "prompt" in row else "neither prompt nor turns"
        raise InputError("--prompts", where, f"has {problem}; give {_FORM}")
    if "turns" in row:
        text: Any = row["turns"][0] if isinstance(row["turns"], list) and row["turns"] else None
        field = "turns"
    else:
        text, field = row["prompt"], "prompt"
    if not isinstance(text, str) or not text:
        raise InputError("--prompts", where, f"field {field} holds no text; give {_FORM}")
    kind = row.get("kind", row.get("category", "prompt"))
    if not isinstance(kind, str):
        raise InputError("--prompts", where, f"field kind is {kind!r}; give a word, or leave it out")
    return Prompt(where, kind, text)


def _place(row: dict[str, Any]) -> str:
    return f"{row['source']}:{row['line']}"


def _repeated(text: str) -> str:
    """The text, and its beginning again: what follows is copying."""
    return f"{text}\n\n\n# The same once more:\n{text[: len(text) // 4]}"


def _prose(rows: list[dict[str, Any]]) -> Iterator[Prompt]:
    """Docstrings left open, made of the sentences in comments and docstrings of one file each."""
    by_source: dict[str, list[str]] = {}
    for row in rows:
        for line in row["prompt"].splitlines()[:-1]:  # the last one is cut off
            if match := _PROSE_LINE.fullmatch(line):
                by_source.setdefault(row["source"], []).append(match[1])
    for source, sentences in by_source.items():
        text = ""
        for sentence in dict.fromkeys(sentences):
            text += f"{sentence}\n"
            if len(text) >= PROSE_CHARACTERS:
                yield Prompt(source, "prose", f'"""{text}')
                text = ""
