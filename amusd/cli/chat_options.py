"""The options that only a conversation with a server has."""

from typing import Annotated

import typer

from amusd.cli.options import option

_SERVER, _CONVERSATION = "Server", "Conversation"

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
