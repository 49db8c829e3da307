"""The options of the commands as types: what each is called and what its help says.

A value that is not given stays None here: defaults live in `EngineConfig` and `SamplingParams` alone, and
what the help shows of them is held to that by a test.
"""

from pathlib import Path
from typing import Annotated, Any

import typer


def option(panel: str, *names: str, help: str, default: str = "", **settings: Any) -> Any:
    """An option whose help shows its default, which is applied elsewhere."""
    shown = f"{help} (default: {default})" if default else help
    return typer.Option(*names, help=shown, show_default=False, rich_help_panel=panel, **settings)


def whole_number(text: str) -> int:
    """Parse an option's value."""
    try:
        return int(text)
    except ValueError:
        raise typer.BadParameter(f"{text}: give a whole number") from None


def number(text: str) -> float:
    """Parse an option's value."""
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"{text}: give a number") from None


def flag(panel: str, name: str, *, help: str) -> Any:
    """An option without a value."""
    return option(panel, name, help=help, metavar=" ")


_PROMPT, MODELS, _PLACES = "Prompt", "Models", "Where it runs"
_DECODING, _SAMPLING, _ENDING, OUTPUT = "Decoding", "Sampling", "When it ends", "Output"

Prompt = Annotated[
    str | None,
    typer.Argument(help="Text to continue; without it the prompt file or the standard input is read."),
]
PromptFile = Annotated[
    Path | None,
    option(_PROMPT, "--prompt-file", metavar="FILE", help="Read the prompt from a UTF-8 file, as it is."),
]
Chat = Annotated[
    bool,
    flag(_PROMPT, "--chat", help="Wrap the prompt as a user's message in the target's chat template."),
]

Target = Annotated[
    str | None,
    option(
        MODELS,
        "--target",
        metavar="MODEL",
        default="demo",
        help="The model whose text is wanted: Hugging Face id, path, or demo (embedded).",
    ),
]
Draft = Annotated[
    list[str] | None,
    option(
        MODELS,
        "--draft",
        metavar="DRAFT",
        default="demo",
        help="What guesses: a model (id, path, demo, demo-small, demo-large), prompt-lookup, ngram,"
        " ngram:FILE, phrases, none; may be repeated.",
    ),
]
Widen = Annotated[
    int | None,
    option(
        MODELS,
        "--widen",
        parser=whole_number,
        metavar="NEURONS",
        default="0",
        help="Widen each FFN of the target: it costs more and writes the same text.",
    ),
]
DType = Annotated[
    str | None,
    option(MODELS, "--dtype", metavar="auto|bfloat16|float32", default="auto", help="Of the weights."),
]
Revision = Annotated[
    str | None,
    option(MODELS, "--revision", metavar="REF", help="Branch, tag or commit of the target on the hub."),
]
DraftRevision = Annotated[
    str | None, option(MODELS, "--draft-revision", metavar="REF", help="The same for the draft.")
]
TrustRemoteCode = Annotated[
    bool, flag(MODELS, "--trust-remote-code", help="Run Python code that comes with a model.")
]

TargetDevices = Annotated[
    str | None,
    option(
        _PLACES,
        "--target-devices",
        metavar="DEVICES",
        help="cuda:0; cuda:0,cuda:1 (split); cpu:0; cpu:2-5 (4 cores).",
    ),
]
DraftDevices = Annotated[
    list[str] | None,
    option(
        _PLACES,
        "--draft-devices",
        metavar="DEVICES",
        help="The same for the draft; once for each model that drafts.",
    ),
]
DraftDevice = Annotated[
    str | None, option(_PLACES, "--draft-devices", metavar="DEVICES", help="The same for the draft.")
]
ShareGpu = Annotated[bool, flag(_PLACES, "--share-gpu", help="Let both models share a GPU (local launcher).")]
Launcher = Annotated[
    str | None,
    option(
        _PLACES,
        "--launcher",
        metavar="ray|local|attached",
        default="ray",
        help="Start the workers as Ray actors or as local processes, or join those at the addresses below.",
    ),
]
RayAddress = Annotated[
    str | None,
    option(
        _PLACES,
        "--ray-address",
        metavar="ADDRESS",
        help="Join this Ray cluster (also: RAY_ADDRESS) instead of starting one.",
    ),
]
TargetAddress = Annotated[
    str | None,
    option(_PLACES, "--target-address", metavar="HOST:PORT", help="Of an `amusd worker target`."),
]
DraftAddress = Annotated[
    str | None, option(_PLACES, "--draft-address", metavar="HOST:PORT", help="Of an `amusd worker draft`.")
]

Mode = Annotated[
    str | None,
    option(
        _DECODING,
        "--mode",
        metavar="async|sync|alone",
        default="async",
        help="Both models at once, in turns, or the target alone; amusd and pearl are to compare with.",
    ),
]
Verify = Annotated[
    str | None,
    option(
        _DECODING,
        "--verify",
        metavar="chain|rows|tree",
        default="chain",
        help="Verify the likeliest chain, branches as rows, or a tree, exact up to rounding.",
    ),
]
Policy = Annotated[
    str | None,
    option(
        _DECODING,
        "--policy",
        metavar="goodput|fixed|table",
        default="goodput",
        help="Verify as many drafted tokens as pay, in tokens per second; to compare, all there are, or as "
        "many as a table says.",
    ),
]
PolicyTable = Annotated[
    str | None,
    option(
        _DECODING,
        "--policy-table",
        metavar="FILE",
        help="Of --policy table: drafted tokens by live requests, as amusd bench --load --profile writes it.",
    ),
]
Rule = Annotated[
    str | None,
    option(
        _DECODING,
        "--rule",
        metavar="NAME",
        default="race",
        help="Draw and accept by race or topk, exact in bytes; or by rejection, rrs, rrsw, kseq or spechub, "
        "exact only in distribution, with one draft model.",
    ),
]
NumSpeculativeTokens = Annotated[
    int | None,
    option(
        _DECODING,
        "--num-speculative-tokens",
        parser=whole_number,
        metavar="K",
        default="7",
        help="Longest chain of drafted tokens that one pass verifies.",
    ),
]
MaxModelLen = Annotated[
    int | None,
    option(
        _DECODING,
        "--max-model-len",
        parser=whole_number,
        metavar="TOKENS",
        default="the model's, at most 2048",
        help="Longest prompt and output together.",
    ),
]
MaxRequests = Annotated[
    int | None,
    option(
        _DECODING,
        "--max-requests",
        parser=whole_number,
        metavar="N",
        default="8",
        help="Requests at a time.",
    ),
]
KvCacheMemoryBytes = Annotated[
    int | None,
    option(
        _DECODING,
        "--kv-cache-memory-bytes",
        parser=whole_number,
        metavar="BYTES",
        default="for max-requests of full length, or what fits",
        help="Most memory of the target's KV cells; when they run out, the youngest request waits.",
    ),
]
PrefillStallMs = Annotated[
    float | None,
    option(
        _DECODING,
        "--prefill-stall-ms",
        parser=number,
        metavar="MS",
        default="200.0",
        help="How long parts of new prompts may keep running requests waiting, all together.",
    ),
]

MaxTokens = Annotated[
    int,
    option(
        _ENDING,
        "--max-tokens",
        parser=whole_number,
        metavar="N",
        default="256",
        help="Longest output, in tokens.",
    ),
]
Temperature = Annotated[
    float | None,
    option(
        _SAMPLING,
        "--temperature",
        parser=number,
        metavar="T",
        default="1.0",
        help="0 takes the most likely token each time.",
    ),
]
TopK = Annotated[
    int | None,
    option(
        _SAMPLING,
        "--top-k",
        parser=whole_number,
        metavar="K",
        default="0",
        help="Keep the K most likely; 0 keeps all.",
    ),
]
TopP = Annotated[
    float | None,
    option(
        _SAMPLING,
        "--top-p",
        parser=number,
        metavar="P",
        default="1.0",
        help="Keep the most likely that sum to P.",
    ),
]
MinP = Annotated[
    float | None,
    option(
        _SAMPLING,
        "--min-p",
        parser=number,
        metavar="P",
        default="0.0",
        help="Drop what is less likely than P times the likeliest.",
    ),
]
Seed = Annotated[
    int | None,
    option(
        _SAMPLING,
        "--seed",
        parser=whole_number,
        metavar="S",
        help="Same seed, same text; without it one is drawn and reported.",
    ),
]
TypicalP = Annotated[
    float | None,
    option(
        _SAMPLING,
        "--typical-p",
        parser=number,
        metavar="P",
        default="1.0",
        help="Keep the most typical that sum to P.",
    ),
]
RepetitionPenalty = Annotated[
    float | None,
    option(
        _SAMPLING,
        "--repetition-penalty",
        parser=number,
        metavar="X",
        default="1.0",
        help="Above 1: less of what prompt and output hold.",
    ),
]
PresencePenalty = Annotated[
    float | None,
    option(
        _SAMPLING,
        "--presence-penalty",
        parser=number,
        metavar="X",
        default="0.0",
        help="Above 0: less of what the output holds.",
    ),
]
FrequencyPenalty = Annotated[
    float | None,
    option(
        _SAMPLING,
        "--frequency-penalty",
        parser=number,
        metavar="X",
        default="0.0",
        help="The same, for each time that it does.",
    ),
]
BadWords = Annotated[
    list[str] | None,
    option(_SAMPLING, "--bad-word", metavar="TEXT", help="Never write this; may be given several times."),
]

Stop = Annotated[
    list[str] | None,
    option(_ENDING, "--stop", metavar="TEXT", help="End before this text; may be given several times."),
]
IncludeStop = Annotated[bool, flag(_ENDING, "--include-stop-str-in-output", help="End with it instead.")]
MinTokens = Annotated[
    int | None,
    option(
        _ENDING,
        "--min-tokens",
        parser=whole_number,
        metavar="N",
        default="0",
        help="Shortest output, in tokens.",
    ),
]
IgnoreEos = Annotated[bool, flag(_ENDING, "--ignore-eos", help="Go on where the model would end.")]

Sequences = Annotated[
    int | None,
    option(
        OUTPUT,
        "--n",
        parser=whole_number,
        metavar="N",
        default="1",
        help="Different outputs of the same prompt, one after the other.",
    ),
]
Logprobs = Annotated[
    int | None,
    option(
        OUTPUT,
        "--logprobs",
        parser=whole_number,
        metavar="K",
        help="With --json: log-probabilities of each token and of the K likeliest beside it.",
    ),
]
Json = Annotated[
    bool,
    flag(
        OUTPUT,
        "--json",
        help="Print one JSON object an output: text, token_ids, finish_reason, seed, metrics.",
    ),
]
Trace = Annotated[
    Path | None,
    option(
        OUTPUT, "--trace", metavar="FILE", help="Write what every worker did when; opens in ui.perfetto.dev."
    ),
]
Debug = Annotated[
    bool,
    flag(OUTPUT, "--debug", help="Show tracebacks, and what the workers write to their standard error."),
]
