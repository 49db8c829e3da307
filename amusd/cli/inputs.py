"""Everything that a command was given, checked before anything heavy is imported or started."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from amusd.bench.common import option_name
from amusd.bench.load.settings import LoadSettings, read_load_settings
from amusd.bench.settings import BenchSettings, read_settings
from amusd.config import EngineConfig
from amusd.errors import InputError
from amusd.params import SamplingParams
from amusd.wishes import Wishes

N = TypeVar("N", int, float)

LOAD_ONLY: Final = (
    *("rates", "requests", "arrivals", "seconds", "max_requests"),
    *("live", "hold_seconds", "policy_table", "profile"),
)
_LOAD_LISTS: Final = ("rates", "live")
_BENCH_PLAIN: Final = (
    *("quick", "num_prompts", "max_tokens", "repeats", "seed", "target", "widen", "dtype"),
    *("target_devices", "draft_devices", "out"),
)


@dataclass(frozen=True, slots=True)
class Job:
    """One `amusd generate`."""

    prompt: str
    chat: bool
    engine: EngineConfig
    params: SamplingParams
    as_json: bool
    trace: Path | None

    def __post_init__(self) -> None:
        if self.params.logprobs is not None and not self.as_json:
            raise InputError("--logprobs", self.params.logprobs, "only --json shows them; add it")


def drop_absent(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were given: None, False and empty lists mean that they were not."""
    return {
        name: value
        for name, value in options.items()
        if value is not None and value is not False and value != []
    }


def read_engine(options: Mapping[str, Any]) -> EngineConfig:
    """The engine that a command's options make; those that are not the engine's are passed over.

    Raises:
        InputError: as `EngineConfig` does.
    """
    given = drop_absent(options)
    return EngineConfig(**{name: given[name] for name in EngineConfig.model_fields if name in given})


def read_sampling(options: Mapping[str, Any]) -> SamplingParams:
    """The sampling parameters that a command's options make; all others are passed over.

    Raises:
        InputError: as `SamplingParams` does, and for a stop string or bad word that is not text.
    """
    given = drop_absent(options)
    for name in ("stop", "bad_words"):
        for text in given.get(name, ()):
            _check_text(name, text)
    return SamplingParams(**{name: given[name] for name in SamplingParams.model_fields if name in given})


def read_wishes(options: Mapping[str, Any]) -> Wishes:
    """The wishes that a command's options make; all others are passed over.

    Raises:
        InputError: as `Wishes` does.
    """
    return Wishes.from_dict({name: options[name] for name in Wishes.model_fields if name in options})


def read_bench(options: Mapping[str, Any]) -> BenchSettings:
    """The settings of a benchmark that a command's options make; lists are given as text with commas between.

    Raises:
        InputError: as `read_settings` does, for an item of a list that is no number, and for an option that
            needs --load.
    """
    for name in LOAD_ONLY:
        if options[name] not in (None, False):
            raise InputError(option_name(name), options[name], "only --load has it; add that, or drop this")
    return read_settings(**_bench_values(options))


def read_load(options: Mapping[str, Any]) -> LoadSettings:
    """The settings of a load benchmark, likewise.

    Raises:
        InputError: as `read_load_settings` does, and for an item of a list that is no number.
    """
    return read_load_settings(
        **_bench_values(options),
        **{name: options[name] for name in LOAD_ONLY if name not in _LOAD_LISTS},
        rates=_numbers("--rates", options["rates"], float),
        live=_numbers("--live", options["live"], int),
    )


def _bench_values(options: Mapping[str, Any]) -> dict[str, Any]:
    """What both kinds of benchmark have, as their settings call it."""
    contenders = options["contenders"]
    return {
        **{name: options[name] for name in _BENCH_PLAIN},
        "contenders": None if contenders is None else tuple(map(str.strip, contenders.split(","))),
        "temperatures": _numbers("--temperatures", options["temperatures"], float),
        "ks": _numbers("--ks", options["ks"], int),
        "prompts_file": options["prompts"],
        "drafts": tuple(options["draft"]) if options["draft"] else None,
    }


def _numbers(option: str, text: str | None, kind: type[N]) -> tuple[N, ...] | None:
    if text is None:
        return None
    try:
        return tuple(kind(item) for item in text.split(","))
    except ValueError:
        remedy = f"give {'whole ' if kind is int else ''}numbers with commas between"
        raise InputError(option, text, remedy) from None


def read_prompt(prompt: str | None, file: Path | None) -> str:
    """The prompt from the command line, a file, or what is piped in.

    Raises:
        InputError: given twice or not at all, empty, not readable, or not UTF-8.
    """
    if prompt is not None and file is not None:
        raise InputError(
            "--prompt-file", str(file), "a prompt was given as an argument too; give one of the two"
        )
    if prompt is not None:
        return _check_text("prompt", prompt)
    if file is not None:
        return _check_text("--prompt-file", _read_file(file), source=str(file))
    if sys.stdin is None or sys.stdin.isatty():
        raise InputError(
            "prompt", "(not given)", "give it as an argument, with --prompt-file, or through a pipe"
        )
    piped = _decode("prompt", "(standard input)", sys.stdin.buffer.read())
    return _check_text("prompt", piped, source="(standard input)")


def check_writable(option: str, path: Path | None) -> Path | None:
    """The path of an output file, once it is certain that it can be written.

    Raises:
        InputError: it is a folder, or its folder does not exist or cannot be written to.
    """
    if path is None:
        return None
    folder = path.absolute().parent
    if path.is_dir():
        raise InputError(option, str(path), "is a folder; name a file in it")
    if not folder.is_dir():
        raise InputError(option, str(path), f"the folder {folder} does not exist; create it first")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise InputError(option, str(path), "cannot be written; choose another place")
    return path


def _read_file(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(
            "--prompt-file", str(path), f"cannot be read ({error.strerror}); check the path"
        ) from error
    return _decode("--prompt-file", str(path), content)


def _decode(field: str, source: str, content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        wrong = f"byte 0x{content[error.start]:02x} at offset {error.start}"
        raise InputError(
            field, source, f"is not UTF-8 ({wrong}); convert it, for example with iconv"
        ) from None


def _check_text(field: str, text: str, source: str = "") -> str:
    """Refuse empty text, and what the shell passed on that is not UTF-8 (lone surrogates in Python)."""
    if not text:
        raise InputError(field, source, "is empty; give at least one character")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InputError(field, ascii(text), "is not UTF-8; convert it, for example with iconv") from None
    return text
