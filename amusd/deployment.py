"""From a configuration to workers on devices."""

from dataclasses import dataclass
from typing import Any

from amusd.config import EngineConfig
from amusd.devices import (
    DeviceSpec,
    Inventory,
    available,
    check_devices,
    default_devices,
    other_cores,
    parse_device,
)
from amusd.launchers.attached import AttachedLauncher
from amusd.launchers.base import Launcher, Role, WorkerSpec
from amusd.launchers.inprocess import InProcessLauncher
from amusd.launchers.local import LocalLauncher

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
    """
    inventory = available()
    draft_count = 0 if config.draft is None else 1
    target, drafts = _devices(config, inventory, draft_count)
    if not elsewhere:
        check_devices(target, drafts, inventory, share_gpu=config.share_gpu)
    io_cores = other_cores(target, inventory)
    common: dict[str, Any] = {
        "mode": config.mode,
        "verify": config.verify,
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
    }
    workers = [WorkerSpec("target", 0, target, io_cores, target_options)]
    for index, device in enumerate(drafts):
        options = {**common, "model": config.draft, "revision": config.draft_revision}
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
    places = {"target_devices": str(device), "draft_devices": str(device)}
    deployment = plan_deployment(config.model_copy(update=places), vocabulary_size, elsewhere=True)
    return next(worker for worker in deployment.workers if worker.role == role)


def _devices(
    config: EngineConfig, inventory: Inventory, draft_count: int
) -> tuple[DeviceSpec, tuple[DeviceSpec, ...]]:
    """Those that the caller named, and the best of what is left for the others."""
    if config.launcher == "attached":
        return _UNKNOWN, (_UNKNOWN,) * draft_count
    target = drafts = None
    if config.target_devices is not None:
        target = parse_device(config.target_devices, "target_devices")
    if config.draft_devices is not None:
        drafts = (parse_device(config.draft_devices, "draft_devices"),)
    return default_devices(inventory, draft_count, target=target, drafts=drafts)


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
