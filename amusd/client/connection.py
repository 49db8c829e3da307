"""How a client reaches its server, and what it says there."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc

from amusd.batches import Prompt, as_list, settings_for, wishes_for
from amusd.errors import InputError
from amusd.params import SamplingParams
from amusd.rpc.v1 import inference_pb2
from amusd.transport.options import CLIENT_OPTIONS
from amusd.wishes import Wishes, WishLists

ATTEMPTS_MAX: Final = 5  # what gRPC allows at most
CONCURRENCY: Final = 16
_BACKOFF: Final = {"initialBackoff": "0.2s", "maxBackoff": "3s", "backoffMultiplier": 2.0}


@dataclass(frozen=True, slots=True)
class Connection:
    """Where the server is and how to talk to it.

    Args:
        address: `host:port` of the server's gRPC side.
        token: an API key of the server; None sends none.
        tls: True trusts the system's certificate authorities, a path those in that PEM file.
        timeout_seconds: for each call that names no other; None waits as long as it takes.
        retries: whether a call is sent again when the server could not be reached or was busy. gRPC
            does so only while nothing of the answer has arrived, so no text is ever delivered twice. A busy
            server says when to.
        concurrency: prompts of one `generate` that are on their way at the same time.

    Raises:
        InputError: the address, the certificate file or a number is unusable.
    """

    address: str
    token: str | None = None
    tls: bool | str | Path = False
    timeout_seconds: float | None = None
    retries: bool = True
    concurrency: int = CONCURRENCY

    def __post_init__(self) -> None:
        host, _, port = self.address.rpartition(":")
        if not host or not port.isdigit():
            raise InputError("address", self.address, "give host:port of the server's gRPC side")
        if self.concurrency < 1:
            raise InputError("concurrency", self.concurrency, "give a whole number of 1 or more")

    @property
    def options(self) -> tuple[tuple[str, int | str], ...]:
        """Of the channel."""
        policy = {
            "maxAttempts": ATTEMPTS_MAX,
            **_BACKOFF,
            "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
        }
        service = {"name": [{"service": "amusd.rpc.v1.Inference"}], "retryPolicy": policy}
        retry = ("grpc.service_config", json.dumps({"methodConfig": [service]}))
        return (*CLIENT_OPTIONS, retry) if self.retries else (*CLIENT_OPTIONS, ("grpc.enable_retries", 0))

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Sent with every call."""
        return () if self.token is None else (("authorization", f"Bearer {self.token}"),)

    def credentials(self) -> grpc.ChannelCredentials | None:
        """For a TLS channel; None where the connection is plain."""
        if self.tls is False:
            return None
        if self.tls is True:
            return grpc.ssl_channel_credentials()
        try:
            return grpc.ssl_channel_credentials(Path(self.tls).read_bytes())
        except OSError as error:
            raise InputError("tls", str(self.tls), f"cannot be read ({error.strerror})") from None


def generate_request(
    prompt: Prompt, params: SamplingParams, wishes: Wishes, request_id: str = ""
) -> inference_pb2.GenerateRequest:
    """One prompt with its settings and wishes.

    Raises:
        InputError: the prompt is neither text nor token ids, or the settings hold Python functions.
    """
    if params.logits_processors:
        remedy = "functions do not travel: decode with an LLM whose launcher is inprocess"
        raise InputError("logits_processors", f"{len(params.logits_processors)} of them", remedy)
    message = inference_pb2.GenerateRequest(
        request_id=request_id, sampling=json.dumps(params.to_dict()), **wishes.to_dict()
    )
    if isinstance(prompt, str):
        message.text = prompt
        return message
    try:
        message.tokens.ids.extend(prompt)
        message.tokens.SetInParent()
    except (TypeError, ValueError):
        raise InputError("prompt", prompt, "give text, or a list of token ids") from None
    return message


def generate_requests(
    prompts: Prompt | Sequence[Prompt],
    params: SamplingParams | Sequence[SamplingParams] | None,
    wishes: WishLists,
) -> list[inference_pb2.GenerateRequest]:
    """One request for each prompt, in their order.

    Raises:
        InputError: as `generate_request`, `settings_for` and `wishes_for` do.
    """
    many = as_list(prompts)
    settings = zip(many, settings_for(many, params), wishes_for(many, wishes), strict=True)
    return [generate_request(prompt, setting, wished) for prompt, setting, wished in settings]


def tokenize_request(content: str | Sequence[Mapping[str, str]]) -> inference_pb2.TokenizeRequest:
    """Text, or a conversation of messages with role and content."""
    if isinstance(content, str):
        return inference_pb2.TokenizeRequest(text=content)
    messages = [inference_pb2.ChatMessage(role=m["role"], content=m["content"]) for m in content]
    return inference_pb2.TokenizeRequest(messages=messages)


def read_info(reply: inference_pb2.ServerInfoReply) -> dict[str, Any]:
    """What the server told of itself."""
    info: dict[str, Any] = json.loads(reply.info)
    return info
