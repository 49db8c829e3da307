"""The options that only a conversation with a server has."""

from typing import Annotated

import typer

from amusd.cli.options import number, option, whole_number

_SERVER, _CONVERSATION, _WISHES = "Server", "Conversation", "Wishes (the text is the same)"

Address = Annotated[str, typer.Argument(metavar="ADDRESS", help="host:port of the server's gRPC side.")]
Key = Annotated[
    str | None, option(_SERVER, "--api-key", metavar="KEY", envvar="AMUSD_API_KEY", help="Of the server.")
]
Tls = Annotated[
    str | None,
    option(_SERVER, "--tls", metavar="FILE|system", help="Trust this PEM file, or the system's authorities."),
]
System = Annotated[
    str | None, option(_CONVERSATION, "--system", metavar="TEXT", help="What the model is told first.")
]
Priority = Annotated[
    int | None,
    option(
        _WISHES,
        "--priority",
        parser=whole_number,
        metavar="N",
        default="0",
        help="While others wait too, lower goes first.",
    ),
]
DeadlineSeconds = Annotated[
    float | None,
    option(
        _WISHES,
        "--deadline-seconds",
        parser=number,
        metavar="S",
        help="An answer should be there after so long; an answer that will be late gets more speculation.",
    ),
]
Cap = Annotated[
    int | None,
    option(
        _WISHES,
        "--num-speculative-tokens",
        parser=whole_number,
        metavar="K",
        default="the server's",
        help="Most drafted tokens that one pass verifies; 0 decodes without drafts.",
    ),
]
