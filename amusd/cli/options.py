"""The options of the commands as types: what each is called and what its help says.

A value that is not given stays None here: defaults live in `EngineConfig` and `SamplingParams` alone, and
what the help shows of them is held to that by a test.
"""

from pathlib import Path
from typing import Annotated, Any

import typer


def _option(panel: str, *names: str, help: str, default: str = "", **settings: Any) -> Any:
    shown = f"{help} (default: {default})" if default else help
    return typer.Option(*names, help=shown, show_default=False, rich_help_panel=panel, **settings)


def _whole_number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise typer.BadParameter(f"{text}: give a whole number") from None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"{text}: give a number") from None


def _flag(panel: str, name: str, *, help: str) -> Any:
    return _option(panel, name, help=help, metavar=" ")


_PROMPT, _MODELS, _PLACES = "Prompt", "Models", "Where it runs"
_DECODING, _SAMPLING, _OUTPUT = "Decoding", "Sampling", "Output"
_RUNS = "What is run"

Prompt = Annotated[
    str | None,
    typer.Argument(help="Text to continue; without it the prompt file or the standard input is read."),
]
PromptFile = Annotated[
    Path | None,
    _option(_PROMPT, "--prompt-file", metavar="FILE", help="Read the prompt from a UTF-8 file, as it is."),
]
Chat = Annotated[
    bool,
    _flag(_PROMPT, "--chat", help="Wrap the prompt as a user's message in the target's chat template."),
]

Target = Annotated[
    str | None,
    _option(
        _MODELS,
        "--target",
        metavar="MODEL",
        default="demo",
        help="The model whose text is wanted: Hugging Face id, path, or demo (embedded).",
    ),
]
Draft = Annotated[
    str | None,
    _option(
        _MODELS,
        "--draft",
        metavar="MODEL|none",
        default="demo",
        help="The model that guesses: id, path, demo, demo-small, demo-large; none for the target alone.",
    ),
]
Widen = Annotated[
    int | None,
    _option(
        _MODELS,
        "--widen",
        parser=_whole_number,
        metavar="NEURONS",
        default="0",
        help="Widen each FFN of the target: it costs more and writes the same text.",
    ),
]
DType = Annotated[
    str | None,
    _option(_MODELS, "--dtype", metavar="auto|bfloat16|float32", default="auto", help="Of the weights."),
]
Revision = Annotated[
    str | None,
    _option(_MODELS, "--revision", metavar="REF", help="Branch, tag or commit of the target on the hub."),
]
DraftRevision = Annotated[
    str | None, _option(_MODELS, "--draft-revision", metavar="REF", help="The same for the draft.")
]
TrustRemoteCode = Annotated[
    bool, _flag(_MODELS, "--trust-remote-code", help="Run Python code that comes with a model.")
]

TargetDevices = Annotated[
    str | None,
    _option(
        _PLACES,
        "--target-devices",
        metavar="DEVICES",
        help="cuda:0; cuda:0,cuda:1 (split); cpu:0; cpu:2-5 (4 cores).",
    ),
]
DraftDevices = Annotated[
    str | None, _option(_PLACES, "--draft-devices", metavar="DEVICES", help="The same for the draft.")
]
Launcher = Annotated[
    str | None,
    _option(
        _PLACES,
        "--launcher",
        metavar="ray|local",
        default="ray",
        help="Start the workers as Ray actors or as local processes.",
    ),
]
RayAddress = Annotated[
    str | None,
    _option(
        _PLACES,
        "--ray-address",
        metavar="ADDRESS",
        help="Join this Ray cluster (also: RAY_ADDRESS) instead of starting one.",
    ),
]

Mode = Annotated[
    str | None,
    _option(
        _DECODING,
        "--mode",
        metavar="async|sync|alone",
        default="async",
        help="Both models at once, in turns, or the target alone; amusd and pearl are to compare with.",
    ),
]
Verify = Annotated[
    str | None,
    _option(
        _DECODING,
        "--verify",
        metavar="chain|rows|tree",
        default="chain",
        help="Verify the likeliest chain, branches as rows, or a tree, exact up to rounding.",
    ),
]
NumSpeculativeTokens = Annotated[
    int | None,
    _option(
        _DECODING,
        "--num-speculative-tokens",
        parser=_whole_number,
        metavar="K",
        default="7",
        help="Longest chain of drafted tokens that one pass verifies.",
    ),
]
MaxModelLen = Annotated[
    int | None,
    _option(
        _DECODING,
        "--max-model-len",
        parser=_whole_number,
        metavar="TOKENS",
        default="the model's, at most 2048",
        help="Longest prompt and output together.",
    ),
]
MaxRequests = Annotated[
    int | None,
    _option(
        _DECODING,
        "--max-requests",
        parser=_whole_number,
        metavar="N",
        default="8",
        help="Requests at a time that memory is sized for.",
    ),
]

MaxTokens = Annotated[
    int,
    _option(
        _SAMPLING,
        "--max-tokens",
        parser=_whole_number,
        metavar="N",
        default="256",
        help="Longest output, in tokens.",
    ),
]
Temperature = Annotated[
    float | None,
    _option(
        _SAMPLING,
        "--temperature",
        parser=_number,
        metavar="T",
        default="1.0",
        help="0 takes the most likely token each time.",
    ),
]
TopK = Annotated[
    int | None,
    _option(
        _SAMPLING,
        "--top-k",
        parser=_whole_number,
        metavar="K",
        default="0",
        help="Keep the K most likely; 0 keeps all.",
    ),
]
TopP = Annotated[
    float | None,
    _option(
        _SAMPLING,
        "--top-p",
        parser=_number,
        metavar="P",
        default="1.0",
        help="Keep the most likely that sum to P.",
    ),
]
MinP = Annotated[
    float | None,
    _option(
        _SAMPLING,
        "--min-p",
        parser=_number,
        metavar="P",
        default="0.0",
        help="Drop what is less likely than P times the likeliest.",
    ),
]
Seed = Annotated[
    int | None,
    _option(
        _SAMPLING,
        "--seed",
        parser=_whole_number,
        metavar="S",
        help="Same seed, same text; without it one is drawn and reported.",
    ),
]
Stop = Annotated[
    list[str] | None,
    _option(_SAMPLING, "--stop", metavar="TEXT", help="End before this text; may be given several times."),
]

Json = Annotated[
    bool,
    _flag(_OUTPUT, "--json", help="Print one JSON object: text, token_ids, finish_reason, seed, metrics."),
]
Trace = Annotated[
    Path | None,
    _option(
        _OUTPUT, "--trace", metavar="FILE", help="Write what every worker did when; opens in ui.perfetto.dev."
    ),
]
Debug = Annotated[
    bool,
    _flag(_OUTPUT, "--debug", help="Show tracebacks, and what the workers write to their standard error."),
]

Quick = Annotated[
    bool,
    _flag(_RUNS, "--quick", help="A first look within five minutes: fewer prompts, repeats and values of k."),
]
Contenders = Annotated[
    str | None,
    _option(
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
    _option(_RUNS, "--temperatures", metavar="T,T,...", default="0,1", help="Each is a table and a panel."),
]
Ks = Annotated[
    str | None,
    _option(
        _RUNS,
        "--ks",
        metavar="K,K,...",
        default="1,2,3,5,7,11,15; quick 3,7",
        help="Numbers of drafted tokens that every contender but async is tried with.",
    ),
]
Prompts = Annotated[
    Path | None,
    _option(
        _RUNS,
        "--prompts",
        metavar="FILE",
        default="embedded code, copying and prose",
        help="JSON Lines with prompt or turns (Spec-Bench's form).",
    ),
]
NumPrompts = Annotated[
    int | None,
    _option(
        _RUNS,
        "--num-prompts",
        parser=_whole_number,
        metavar="N",
        default="6; quick 3",
        help="Measured prompts; k is chosen on those that follow.",
    ),
]
BenchTokens = Annotated[
    int | None,
    _option(
        _RUNS,
        "--max-tokens",
        parser=_whole_number,
        metavar="N",
        default="200; quick at most 48",
        help="Length of every output.",
    ),
]
Repeats = Annotated[
    int | None,
    _option(
        _RUNS,
        "--repeats",
        parser=_whole_number,
        metavar="N",
        default="5; quick at most 2",
        help="How often everybody is measured, in rotated order.",
    ),
]
OrderSeed = Annotated[
    int | None,
    _option(_RUNS, "--seed", parser=_whole_number, metavar="S", default="20260", help="Of the order."),
]
Drafts = Annotated[
    list[str] | None,
    _option(
        _MODELS,
        "--draft",
        metavar="MODEL",
        default="demo-small and demo-large; quick demo-large",
        help="A model that guesses; may be given several times, and each contender is shown with its best.",
    ),
]
BenchWiden = Annotated[
    int | None,
    _option(
        _MODELS,
        "--widen",
        parser=_whole_number,
        metavar="NEURONS",
        default="12288, quick 4096, 0 for your own target",
        help="Widen each FFN of the target: it costs more and writes the same text.",
    ),
]
Out = Annotated[
    Path | None,
    _option(
        _OUTPUT,
        "--out",
        metavar="FOLDER",
        default="bench-results",
        help="Where results.json, the pictures and a trace go.",
    ),
]
ShowAgain = Annotated[
    Path | None,
    _option(
        _OUTPUT,
        "--show",
        metavar="FILE",
        help="Run nothing: make tables and pictures of this results.json again.",
    ),
]
