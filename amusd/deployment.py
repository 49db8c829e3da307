"""From a configuration to workers on devices."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amusd.config import NGRAM, EngineConfig, corpus_of
from amusd.devices import (
    DeviceSpec,
    Inventory,
    available,
    check_devices,
    default_devices,
    other_cores,
    parse_device,
)
from amusd.errors import DeviceError
from amusd.launchers.attached import AttachedLauncher
from amusd.launchers.base import Launcher, Role, WorkerSpec
from amusd.launchers.inprocess import InProcessLauncher
from amusd.launchers.local import LocalLauncher
from amusd.policies.table import read_table

_UNKNOWN = DeviceSpec("cpu", ())  # whoever started a worker chose its device


@dataclass(frozen=True, slots=True)
class Deployment:
    """Which worker runs where; ``io_cores`` are for everything that is not the target."""

    workers: tuple[WorkerSpec, ...]
    io_cores: tuple[int, ...]

    def __str__(self) -> str:
        """Roles with their devices, for people."""
        return ", ".join(f"{worker.role} on {worker.device}" for worker in self.workers)


def plan_deployment(config: EngineConfig, vocabulary_size: int, *, elsewhere: bool = False) -> Deployment:
    """Choose or check the devices, and say what each worker is to load.

    Args:
        vocabulary_size: tokens of the tokenizer; columns of the logits beyond are padding.
        elsewhere: the workers may land on other machines, which check the devices that were named.

    Raises:
        DeviceError: a device does not exist or is given twice.
        InputError: the policy's table cannot be read, or is none.
    """
    inventory = available()
    target, drafts = _devices(config, inventory)
    if not elsewhere:
        check_devices(target, drafts, inventory, share_gpu=config.share_gpu)
    io_cores = other_cores(target, inventory)
    common: dict[str, Any] = {
        "mode": config.mode,
        "verify": config.verify,
        "policy": config.policy,
        "policy_table": _policy_table(config),
        "rule": config.rule,
        "num_speculative_tokens": config.num_speculative_tokens,
        "max_model_len": config.max_model_len,
        "max_requests": config.max_requests,
        "dtype": config.dtype,
        "vocabulary_size": vocabulary_size,
        "trust_remote_code": config.trust_remote_code,
        "debug": config.debug,
    }
    target_options = {
        **common,
        "model": config.target,
        "revision": config.revision,
        "quantization_config": config.quantization_config,
        "widen": config.widen,
        "kv_cache_memory_bytes": config.kv_cache_memory_bytes,
        "prefill_stall_ms": config.prefill_stall_ms,
        "lookups": [_with_path(name) for name in config.lookups],
    }
    workers = [WorkerSpec("target", 0, target, io_cores, target_options)]
    for index, (model, device) in enumerate(zip(config.model_drafts, drafts, strict=True)):
        options = {**common, "model": model, "revision": config.draft_revision}
        workers.append(WorkerSpec("draft", index, device, io_cores, options))
    return Deployment(tuple(workers), io_cores)


def plan_worker(config: EngineConfig, role: Role, devices: str | None, vocabulary_size: int) -> WorkerSpec:
    """One worker by itself, on this machine, whose others run elsewhere.

    Args:
        devices: its own; None is every GPU, or every core, for a target, and the first GPU, or the last core,
            for a draft.

    Raises:
        DeviceError: they are no devices.
    """
    inventory = available()
    if devices is not None:
        device = parse_device(devices, "devices")
    elif role == "target":
        device, _ = default_devices(inventory, 0)
    else:
        device = DeviceSpec("cuda", (0,)) if inventory.gpus else DeviceSpec("cpu", inventory.cores[-1:])
    places = {
        "target_devices": str(device),
        "draft_devices": (str(device),) * len(config.model_drafts) or None,
    }
    deployment = plan_deployment(config.model_copy(update=places), vocabulary_size, elsewhere=True)
    return next(worker for worker in deployment.workers if worker.role == role)


def _policy_table(config: EngineConfig) -> dict[str, int] | None:
    """What the table's file says: a worker may run where that file is not.

    Raises:
        InputError: it cannot be read, or is no table.
    """
    if config.policy_table is None:
        return None
    return {str(requests): k for requests, k in read_table(Path(config.policy_table)).k_by_requests.items()}


def _with_path(lookup: str) -> str:
    """A lookup's name; a worker may run in another folder than the one that its corpus was named from."""
    corpus = corpus_of(lookup)
    return lookup if corpus is None else f"{NGRAM}:{Path(corpus).absolute()}"


def _devices(config: EngineConfig, inventory: Inventory) -> tuple[DeviceSpec, tuple[DeviceSpec, ...]]:
    """Those that the caller named, and the best of what is left for the others.

    Raises:
        DeviceError: the caller named one for several draft models, or too little is left.
    """
    count, named = len(config.model_drafts), config.draft_devices
    if config.launcher == "attached":
        return _UNKNOWN, (_UNKNOWN,) * count
    target = drafts = None
    if config.target_devices is not None:
        target = parse_device(config.target_devices, "target_devices")
    if named is not None:
        if isinstance(named, str) and count > 1:
            remedy = f"it is one device for {count} draft models; give one for each, or none"
            raise DeviceError("draft_devices", named, remedy)
        texts = (named,) if isinstance(named, str) else named
        drafts = tuple(parse_device(text, "draft_devices") for text in texts)
    return default_devices(inventory, count, target=target, drafts=drafts)


def launcher_for(config: EngineConfig) -> Launcher:
    """The launcher that the configuration names."""
    if config.launcher == "local":
        return LocalLauncher(debug=config.debug)
    if config.launcher == "inprocess":
        return InProcessLauncher(debug=config.debug)
    if config.launcher == "attached":
        assert config.target_address is not None, "the configuration was checked"
        drafts = config.draft_address.split(",") if config.draft_address else []
        return AttachedLauncher(config.target_address, [address.strip() for address in drafts])
    from amusd.launchers.ray import RayLauncher  # imports ray, which takes a second

    return RayLauncher(address=config.ray_address, debug=config.debug)
