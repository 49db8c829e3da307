"""The options of `amusd bench` as types: what each is called and what its help says."""

from pathlib import Path
from typing import Annotated

from amusd.cli.options import MODELS, OUTPUT, flag, option, whole_number

_RUNS = "What is run"

Quick = Annotated[
    bool,
    flag(_RUNS, "--quick", help="A first look within five minutes: fewer prompts, repeats and values of k."),
]
Contenders = Annotated[
    str | None,
    option(
        _RUNS,
        "--contenders",
        metavar="A,B,...",
        default="all that can run here",
        help="Some of transformers, transformers-assisted, llamacpp, llamacpp-draft, alone, sync, amusd,"
        " pearl, async.",
    ),
]
Temperatures = Annotated[
    str | None,
    option(_RUNS, "--temperatures", metavar="T,T,...", default="0,1", help="Each is a table and a panel."),
]
Ks = Annotated[
    str | None,
    option(
        _RUNS,
        "--ks",
        metavar="K,K,...",
        default="1,2,3,5,7,11,15; quick 3,7",
        help="Numbers of drafted tokens that every contender but async is tried with.",
    ),
]
Prompts = Annotated[
    Path | None,
    option(
        _RUNS,
        "--prompts",
        metavar="FILE",
        default="embedded code, copying and prose",
        help="JSON Lines with prompt or turns (Spec-Bench's form).",
    ),
]
NumPrompts = Annotated[
    int | None,
    option(
        _RUNS,
        "--num-prompts",
        parser=whole_number,
        metavar="N",
        default="6; quick 3",
        help="Measured prompts; k is chosen on those that follow.",
    ),
]
BenchTokens = Annotated[
    int | None,
    option(
        _RUNS,
        "--max-tokens",
        parser=whole_number,
        metavar="N",
        default="200; quick at most 48",
        help="Length of every output.",
    ),
]
Repeats = Annotated[
    int | None,
    option(
        _RUNS,
        "--repeats",
        parser=whole_number,
        metavar="N",
        default="5; quick at most 2",
        help="How often everybody is measured, in rotated order.",
    ),
]
OrderSeed = Annotated[
    int | None,
    option(_RUNS, "--seed", parser=whole_number, metavar="S", default="20260", help="Of the order."),
]
Drafts = Annotated[
    list[str] | None,
    option(
        MODELS,
        "--draft",
        metavar="MODEL",
        default="demo-small and demo-large; quick demo-large",
        help="A model that guesses; may be given several times, and each contender is shown with its best.",
    ),
]
BenchWiden = Annotated[
    int | None,
    option(
        MODELS,
        "--widen",
        parser=whole_number,
        metavar="NEURONS",
        default="12288, quick 4096, 0 for your own target",
        help="Widen each FFN of the target: it costs more and writes the same text.",
    ),
]
Out = Annotated[
    Path | None,
    option(
        OUTPUT,
        "--out",
        metavar="FOLDER",
        default="bench-results",
        help="Where results.json, the pictures and a trace go.",
    ),
]
ShowAgain = Annotated[
    Path | None,
    option(
        OUTPUT,
        "--show",
        metavar="FILE",
        help="Run nothing: make tables and pictures of this results.json again.",
    ),
]
Tracebacks = Annotated[bool, flag(OUTPUT, "--debug", help="Show tracebacks.")]
