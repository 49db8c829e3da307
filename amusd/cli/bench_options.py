"""The options of `amusd bench` as types: what each is called and what its help says."""

from pathlib import Path
from typing import Annotated

from amusd.cli.options import MODELS, OUTPUT, flag, number, option, whole_number

_RUNS, _LOAD = "What is run", "Under load"

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
        " pearl, async; under load of fixed, sync, table, goodput, transformers, beside alone.",
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
        default="1,2,3,5,7,11,15; quick 3,7; load 1,3,5,7",
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
        default="6; quick 3; load 12",
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
        default="200; quick at most 48; load 64, quick 32",
        help="Length of every output; of the longest one under load.",
    ),
]
Repeats = Annotated[
    int | None,
    option(
        _RUNS,
        "--repeats",
        parser=whole_number,
        metavar="N",
        default="5; quick at most 2; load 3, quick 1",
        help="How often everybody is measured, in rotated order.",
    ),
]
OrderSeed = Annotated[
    int | None,
    option(
        _RUNS,
        "--seed",
        parser=whole_number,
        metavar="S",
        default="20260",
        help="Of the order; under load of requests and arrivals too.",
    ),
]
Drafts = Annotated[
    list[str] | None,
    option(
        MODELS,
        "--draft",
        metavar="MODEL",
        default="demo-small and demo-large; quick and under load demo-large",
        help="A model that guesses; may be given several times, and each contender is shown with its best. "
        "Under load one model, and lookups such as prompt-lookup beside it if named too.",
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
Load = Annotated[
    bool,
    flag(
        _LOAD,
        "--load",
        help="Many requests at a time, on servers: alone, fixed (and sync) for each K of --ks, table,"
        " goodput, and transformers' continuous batching.",
    ),
]
Profile = Annotated[
    bool,
    flag(
        _LOAD,
        "--profile",
        help="Only measure which K of --ks, or none, is fastest with 1, 2, 4, ... live requests, and write "
        "FOLDER/policy-table.json, for --policy table.",
    ),
]
BenchTable = Annotated[
    Path | None,
    option(
        _LOAD,
        "--policy-table",
        metavar="FILE",
        default="profiled first",
        help="What the contender table follows.",
    ),
]
Live = Annotated[
    str | None,
    option(
        _LOAD,
        "--live",
        metavar="N,N,...",
        default="16; quick 4",
        help="Closed loops beside the rates: so many requests live at all times.",
    ),
]
HoldSeconds = Annotated[
    float | None,
    option(
        _LOAD,
        "--hold-seconds",
        parser=number,
        metavar="S",
        default="6; quick 1.5",
        help="Length of each closed loop, also of those of a profile.",
    ),
]
Rates = Annotated[
    str | None,
    option(
        _LOAD,
        "--rates",
        metavar="R,R,...",
        default="0.1, 0.5, 1 and 2 times what the target alone bears",
        help="Requests per second.",
    ),
]
Requests = Annotated[
    int | None,
    option(
        _LOAD, "--requests", parser=whole_number, metavar="N", default="48; quick 12", help="Most of a run."
    ),
]
ArrivalKind = Annotated[
    str | None,
    option(
        _LOAD,
        "--arrivals",
        metavar="poisson|bursts",
        default="poisson",
        help="One at a time, or four at once, after exponential gaps.",
    ),
]
Seconds = Annotated[
    float | None,
    option(
        _LOAD,
        "--seconds",
        parser=number,
        metavar="S",
        default="60; quick 10",
        help="No request of a run arrives later, and after twice as many the run is ended.",
    ),
]
LoadRequests = Annotated[
    int | None,
    option(
        _LOAD,
        "--max-requests",
        parser=whole_number,
        metavar="N",
        default="32; quick 8",
        help="Requests that a server decodes at a time; the others wait.",
    ),
]
Out = Annotated[
    Path | None,
    option(
        OUTPUT,
        "--out",
        metavar="FOLDER",
        default="bench-results",
        help="Where results.json (load.json), the pictures and a trace or logs go.",
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
