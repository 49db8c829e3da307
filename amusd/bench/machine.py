"""What a result was measured on: whatever a reader needs to judge or repeat it."""

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import psutil

from amusd import __version__
from amusd.bench.energy import EnergyMeter
from amusd.devices import available

PACKAGES: Final = (
    "torch", "transformers", "tokenizers", "grpcio", "llama-cpp-python", "gguf", "scikit-learn", "matplotlib",
)  # fmt: skip
FLAGS: Final = (
    "avx2", "avx512f", "avx512_bf16", "avx512_vnni", "avx_vnni", "amx_tile", "amx_bf16", "bf16", "hypervisor",
)  # fmt: skip
"""Of the processor's flags, those that decide which kernels run, and whether this is a virtual machine."""


def machine_facts() -> dict[str, Any]:
    """Processor, memory, system, versions and load, in plain JSON values."""
    inventory = available()
    return {
        "cpu": _cpu("model name") or platform.processor() or platform.machine(),
        "cpu_family": _cpu("cpu family"),
        "cpu_model": _cpu("model"),
        "cpu_flags": [flag for flag in FLAGS if flag in (_cpu("flags") or _cpu("Features")).split()],
        "cpu_cache": _cpu("cache size"),
        "cores": list(inventory.cores),
        "gpus": _gpus(inventory.gpus),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {"amusd": __version__} | {name: _version(name) for name in PACKAGES},
        "energy": EnergyMeter().absent_because or "RAPL, all packages",
        "command": ["amusd", *sys.argv[1:]],
    }


def _cpu(field: str) -> str:
    """A field of the first processor in /proc/cpuinfo; empty where there is none."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return ""
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == field:
            return value.strip()
    return ""


def _gpus(count: int) -> list[str]:
    if not count:
        return []
    from torch import cuda  # seconds, and only of use where there is one

    return [cuda.get_device_name(index) for index in range(count)]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
