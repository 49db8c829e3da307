"""The options of `amusd simulate` as types: what each is called and what its help says."""

from pathlib import Path
from typing import Annotated

from amusd.cli.options import OUTPUT, flag, option, whole_number

_SCENARIO = "Scenario"

ScenarioName = Annotated[
    str | None,
    option(
        _SCENARIO,
        "--scenario",
        metavar="NAME|FILE",
        default="two-cores; with --load load-70b-1b",
        help="One that comes with amusd, or a YAML or JSON file.",
    ),
]
ListScenarios = Annotated[bool, flag(_SCENARIO, "--list", help="Print the scenarios that come with amusd.")]
Settings = Annotated[
    list[str] | None,
    option(
        _SCENARIO,
        "--set",
        metavar="NAME=VALUE",
        help="Change one value, such as network.latency_ms=2; may be given several times.",
    ),
]
LoadToo = Annotated[
    bool,
    flag(
        _SCENARIO,
        "--load",
        help="Many requests at a time: batches that stay full, and requests that arrive by themselves, with "
        "each fixed number of drafted tokens, with a table of them (load.ways=[fixed]), and with the policy "
        "that chooses.",
    ),
]
Sweep = Annotated[
    list[str] | None,
    option(
        _SCENARIO,
        "--sweep",
        metavar="NAME=V,V,...",
        help="Run once for each value; given twice, for each combination.",
    ),
]
Repeats = Annotated[
    int | None,
    option(
        _SCENARIO,
        "--repeats",
        parser=whole_number,
        metavar="N",
        default="3",
        help="Seeds to run, from --seed on.",
    ),
]
SimulationSeed = Annotated[
    int | None,
    option(_SCENARIO, "--seed", parser=whole_number, metavar="S", help="Same seed, same run."),
]
Out = Annotated[
    Path | None,
    option(
        OUTPUT, "--out", metavar="FOLDER", help="Leave JSON, CSV and pictures there; needs the extra bench."
    ),
]
SimulationJson = Annotated[bool, flag(OUTPUT, "--json", help="Print one JSON object instead of a table.")]
