"""Asynchronous multi-device speculative decoding: the target model's own text, faster.

Example:
    from amusd import LLM, SamplingParams

    with LLM(target="demo", draft="demo") as llm:
        for output in llm.generate("def fibonacci(n):", SamplingParams(max_tokens=64, temperature=0)):
            print(output.text)
"""

import os
from typing import TYPE_CHECKING

# Before anything imports grpc: a stream that ends is reported where it matters, with its reason.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

if TYPE_CHECKING:
    from amusd import sampling
    from amusd.client import AsyncClient, Client
    from amusd.errors import (
        AbortedError,
        AccessError,
        AmusdError,
        BusyError,
        DeadlineError,
        DeviceError,
        InputError,
        ModelError,
        ProtocolError,
        UnavailableError,
        WorkerError,
    )
    from amusd.llm import LLM
    from amusd.logprobs import Logprob
    from amusd.outputs import Chunk, RequestMetrics, RequestOutput
    from amusd.params import SamplingParams

__version__ = "0.1.0"
__all__ = [
    "LLM",
    "AbortedError",
    "AccessError",
    "AmusdError",
    "AsyncClient",
    "BusyError",
    "Chunk",
    "Client",
    "DeadlineError",
    "DeviceError",
    "InputError",
    "Logprob",
    "ModelError",
    "ProtocolError",
    "RequestMetrics",
    "RequestOutput",
    "SamplingParams",
    "UnavailableError",
    "WorkerError",
    "__version__",
    "sampling",
]

_HOMES = {
    "amusd.client": ("AsyncClient", "Client"),
    "amusd.errors": (
        "AbortedError",
        "AccessError",
        "AmusdError",
        "BusyError",
        "DeadlineError",
        "DeviceError",
        "InputError",
        "ModelError",
        "ProtocolError",
        "UnavailableError",
        "WorkerError",
    ),
    "amusd.llm": ("LLM",),
    "amusd.logprobs": ("Logprob",),
    "amusd.outputs": ("Chunk", "RequestMetrics", "RequestOutput"),
    "amusd.params": ("SamplingParams",),
}
_PACKAGES = ("sampling",)


def __getattr__(name: str) -> object:
    """Import a public name, or a package that holds some, when it is first used.

    `import amusd` stays free of torch, so that a worker can pin its process before torch starts its
    thread pools, and `amusd --help` answers at once.
    """
    from importlib import import_module

    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    if name in _PACKAGES:
        return import_module(f"amusd.{name}")
    raise AttributeError(f"module 'amusd' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
