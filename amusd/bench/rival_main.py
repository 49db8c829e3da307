"""The process of a contender that is not ours: `python -m amusd.bench.rival_main`.

One JSON object a line comes in, one goes out. The first names the system, its device and the models; the
answer comes when they are loaded. Between requests the process sleeps in a read. It ends when its input
does, and so with whoever started it.
"""

import json
import os
import sys
import traceback
from importlib import import_module
from typing import Any, Final, Protocol, TextIO

from amusd.devices import parse_device, pin_process

SYSTEMS: Final = {
    "transformers": "amusd.bench.rival_transformers:TransformersRival",
    "transformers-batch": "amusd.bench.rival_batch:BatchRival",
    "llamacpp": "amusd.bench.rival_llamacpp:LlamacppRival",
    "ranks": "amusd.bench.ranks:DraftRanks",
}


class Rival(Protocol):
    """What a system's class is: made of the first line, asked with the others.

    ``facts`` says in a line what was loaded, for the results.
    """

    facts: str

    def __init__(self, options: dict[str, Any]) -> None:
        """Load what all requests need."""

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """One request, in plain JSON values."""


def main() -> int:
    """Serve until the input ends; returns the exit code."""
    replies = _private_output()
    options = json.loads(sys.stdin.readline())
    try:
        device = parse_device(options["device"])
        if device.cores:
            pin_process(device.cores)  # before torch starts a pool: its threads inherit the cores
        module, _, name = SYSTEMS[options["system"]].partition(":")
        rival: Rival = getattr(import_module(module), name)(options)
        _reply(replies, {"facts": rival.facts})
        for line in sys.stdin:
            _reply(replies, rival.answer(json.loads(line)))
    except Exception as error:
        _reply(replies, {"error": f"{type(error).__name__}: {' '.join(str(error).split())}"})
        raise
    return 0


def _private_output() -> TextIO:
    """The standard output for replies alone; what libraries print goes to the standard error."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return replies


def _reply(replies: TextIO, answer: dict[str, Any]) -> None:
    replies.write(json.dumps(answer) + "\n")
    replies.flush()


if __name__ == "__main__":
    try:
        code = main()
    except Exception:  # noqa: BLE001 - it is told, and the process ends
        traceback.print_exc()
        code = 1
    sys.stderr.flush()
    os._exit(code)  # a library's thread that goes on would keep the process, and its memory
