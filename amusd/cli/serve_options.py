"""The options that only a server has; their defaults live in `amusd.serving.settings.ServerConfig`."""

from pathlib import Path
from typing import Annotated

import typer

from amusd.cli.options import OUTPUT, number, option, whole_number

_SERVER, _ACCESS = "Server", "Access"

ConfigFile = Annotated[
    Path | None,
    option(_SERVER, "--config", metavar="FILE", help="YAML with any of these options; flags win over it."),
]
Host = Annotated[
    str | None,
    option(_SERVER, "--host", metavar="ADDRESS", default="127.0.0.1", help="0.0.0.0 listens everywhere."),
]
Port = Annotated[
    int | None,
    option(_SERVER, "--port", parser=whole_number, metavar="PORT", default="8000", help="HTTP; 0: any free."),
]
GrpcPort = Annotated[
    int | None,
    option(_SERVER, "--grpc-port", parser=whole_number, metavar="PORT", default="8001", help="gRPC."),
]
ServedModelName = Annotated[
    str | None,
    option(_SERVER, "--served-model-name", metavar="NAME", help="What clients call the model."),
]
ChatTemplate = Annotated[
    Path | None,
    option(
        _SERVER, "--chat-template", metavar="FILE", help="Jinja template in place of the tokenizer's own."
    ),
]
MaxQueue = Annotated[
    int | None,
    option(
        _SERVER,
        "--max-queue",
        parser=whole_number,
        metavar="N",
        default="64",
        help="Requests that may wait; more are refused (429).",
    ),
]
DrainSeconds = Annotated[
    float | None,
    option(
        _SERVER,
        "--drain-seconds",
        parser=number,
        metavar="S",
        default="30.0",
        help="How long live requests may go on after SIGTERM.",
    ),
]
SpeculativeConfig = Annotated[
    str | None,
    option(
        _SERVER,
        "--speculative-config",
        metavar="JSON",
        help="The draft as vLLM's users write it: model, num_speculative_tokens, revision.",
    ),
]
ApiKey = Annotated[
    list[str] | None,
    option(_ACCESS, "--api-key", metavar="KEY", help="Let in who sends it; may be given several times."),
]
SslCertfile = Annotated[
    Path | None, option(_ACCESS, "--ssl-certfile", metavar="FILE", help="TLS certificate (PEM).")
]
SslKeyfile = Annotated[
    Path | None, option(_ACCESS, "--ssl-keyfile", metavar="FILE", help="Its private key (PEM).")
]
StatisticsSeconds = Annotated[
    float | None,
    option(
        OUTPUT,
        "--statistics-seconds",
        parser=number,
        metavar="S",
        default="10.0",
        help="Between two lines of statistics.",
    ),
]
VllmMetrics = Annotated[
    bool | None,
    typer.Option(
        "--vllm-metrics/--no-vllm-metrics",
        help="Call metrics that vLLM has too as vLLM does. (default: on)",
        show_default=False,
        rich_help_panel=OUTPUT,
    ),
]
LogFormat = Annotated[
    str | None, option(OUTPUT, "--log-format", metavar="text|json", default="text", help="Of the log.")
]
