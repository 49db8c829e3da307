"""`amusd worker target` and `amusd worker draft`: started by hand, for a coordinator elsewhere."""

import re
import sys
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import typer

from amusd.cli import options
from amusd.cli.options import option
from amusd.errors import AmusdError, InputError

WORKER: Final = "Worker"
_ADDRESS: Final = re.compile(r"(?P<host>\[[0-9a-fA-F:]+\]|[^\s:/]+):(?P<port>\d{1,5})")

app = typer.Typer(
    help="Start one worker by hand, for a coordinator on this or another machine (docs/deploy.md).",
    no_args_is_help=True,
    rich_markup_mode="rich",
)
Listen = Annotated[
    str,
    option(
        WORKER,
        "--listen",
        metavar="HOST:PORT",
        help="Where others reach it, without encryption or a key: an address of a network that you trust.",
    ),
]
Connect = Annotated[
    str | None,
    option(
        WORKER,
        "--connect",
        metavar="HOST:PORT",
        help="The target as this machine reaches it; without it the coordinator's --target-address is taken.",
    ),
]
Devices = Annotated[
    str | None,
    option(WORKER, "--devices", metavar="DEVICES", help="cuda:0; cuda:0,cuda:1 (split); cpu:0; cpu:2-5."),
]


@app.command(
    epilog="""[bold]Example[/bold]
amusd worker target --listen 10.0.0.1:9001 --devices cuda:0,cuda:1"""
)
def target(
    listen: Listen,
    devices: Devices = None,
    target: options.Target = None,
    draft: options.Draft = None,
    widen: options.Widen = None,
    dtype: options.DType = None,
    revision: options.Revision = None,
    trust_remote_code: options.TrustRemoteCode = False,
    mode: options.Mode = None,
    verify: options.Verify = None,
    policy: options.Policy = None,
    policy_table: options.PolicyTable = None,
    rule: options.Rule = None,
    num_speculative_tokens: options.NumSpeculativeTokens = None,
    max_model_len: options.MaxModelLen = None,
    max_requests: options.MaxRequests = None,
    kv_cache_memory_bytes: options.KvCacheMemoryBytes = None,
    prefill_stall_ms: options.PrefillStallMs = None,
    debug: options.Debug = False,
) -> None:
    """Load the target and wait for a coordinator and drafts.

    Models, mode, rule and sizes have to be those of the other commands: the coordinator compares them.
    Without --devices it takes all GPUs, or all cores.
    """
    _serve("target", locals())


@app.command(
    epilog="""[bold]Example[/bold]
amusd worker draft --listen 10.0.0.2:9002 --connect 10.0.0.1:9001 --devices cuda:0"""
)
def draft(
    listen: Listen,
    connect: Connect = None,
    devices: Devices = None,
    target: options.Target = None,
    draft: options.Draft = None,
    dtype: options.DType = None,
    draft_revision: options.DraftRevision = None,
    trust_remote_code: options.TrustRemoteCode = False,
    mode: options.Mode = None,
    rule: options.Rule = None,
    num_speculative_tokens: options.NumSpeculativeTokens = None,
    max_model_len: options.MaxModelLen = None,
    max_requests: options.MaxRequests = None,
    debug: options.Debug = False,
) -> None:
    """Load the draft and propose to a target.

    It dials the target for as long as it takes, and again whenever the connection ends.
    Of the target's model only configuration and tokenizer are read. Without --devices it takes the
    first GPU, or the last core.
    """
    _serve("draft", locals())


def _serve(role: Literal["target", "draft"], given: Mapping[str, Any]) -> None:
    from amusd.cli import inputs

    host, port = _host_and_port("--listen", given["listen"])
    connect: str | None = given.get("connect")
    if connect is not None:
        _host_and_port("--connect", connect)
    config = inputs.read_engine({**given, "launcher": "local"})
    if role == "draft" and len(config.model_drafts) != 1:
        named = ", ".join(config.drafts) or "none"
        raise InputError(
            "draft", named, "a draft worker needs one model; start one for each, and no mode alone"
        )
    from amusd.deployment import plan_worker
    from amusd.launchers.report import Ready, Report
    from amusd.launchers.worker_main import serve_by_hand
    from amusd.prompts import PromptReader

    vocabulary_size = len(PromptReader(config).tokenizer)
    spec = plan_worker(config, role, given["devices"], vocabulary_size).payload(host)
    spec["options"] |= {"port": port, "target_address": connect}

    def announce(report: Report) -> None:
        if not isinstance(report, Ready):
            raise report.exception(f"{role} worker")
        print(f"{role} worker on {spec['device']} serves at {report.address}", file=sys.stderr, flush=True)

    code = serve_by_hand(spec, announce)
    if code:
        raise AmusdError(f"the {role} worker ended with code {code}")


def _host_and_port(name: str, text: str) -> tuple[str, int]:
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match["port"]) >= 2**16:
        raise InputError(name, text, "give host:port, such as 10.0.0.1:9001")
    return match["host"], int(match["port"])
