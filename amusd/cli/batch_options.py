"""The options that only `amusd batch` has."""

from pathlib import Path
from typing import Annotated

import typer

from amusd.cli.options import OUTPUT, flag

Source = Annotated[Path, typer.Argument(metavar="INPUT", help="JSON Lines, one request a line.")]
Destination = Annotated[
    Path, typer.Argument(metavar="OUTPUT", help="JSON Lines; results that it holds already are kept.")
]
BatchJson = Annotated[bool, flag(OUTPUT, "--json", help="Print the report as one JSON object.")]
