"""Where models run: names of devices, what this machine has, and pinning to CPU cores.

A device is one or more CUDA GPUs or one set of CPU cores. Cores carry the operating system's numbers, so
`cpu:4` is the core that `taskset` calls 4. Two cores, one pinned to each model, behave like two GPUs, as
long as everything else keeps off the target's cores.
"""

import os
import re
import sys
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from amusd.errors import DeviceError

_FORMS = "give cpu:CORES such as cpu:0, cpu:2-5 or cpu:0-1,4, or GPUs such as cuda:0 or cuda:0,cuda:1"
_PART = re.compile(r"(?:(cpu|cuda):)?(\d{1,4})(?:-(\d{1,4}))?")

# One of these exists wherever a driver that torch can use is loaded (NVIDIA, WSL, ROCm). Without one, torch
# need not be imported (seconds) only to hear that there is no GPU.
_SHARING = "; or share_gpu lets two processes share a GPU"
_GPU_DRIVER_FILES = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
_NICENESS, _NICENESS_MAX = 10, 19  # enough for a waking thread to go first at once
_CORE_NUMBERS_MAX = 8192  # the most that Linux can be built for


@dataclass(frozen=True, slots=True)
class DeviceSpec:
    """One device: a set of CPU cores, or GPUs in the order in which layers are placed on them.

    Args:
        kind: `cpu` or `cuda`.
        indices: distinct core or GPU numbers; cores in ascending order.
    """

    kind: Literal["cpu", "cuda"]
    indices: tuple[int, ...]

    @property
    def cores(self) -> tuple[int, ...]:
        """The CPU cores that are this device; empty for GPUs."""
        return self.indices if self.kind == "cpu" else ()

    @property
    def parts(self) -> tuple[str, ...]:
        """The name of each core or GPU by itself, such as `("cuda:0", "cuda:1")`."""
        return tuple(f"{self.kind}:{index}" for index in self.indices)

    def __str__(self) -> str:
        """The text that `parse_device` reads back as the same device."""
        return f"cpu:{_ranges(self.indices)}" if self.kind == "cpu" else ",".join(self.parts)


@dataclass(frozen=True, slots=True)
class Inventory:
    """What this process may use.

    Args:
        cores: CPU core numbers, ascending, at least one.
        gpus: number of CUDA GPUs; they are `cuda:0` to `cuda:{gpus - 1}`.
    """

    cores: tuple[int, ...]
    gpus: int = 0

    def __str__(self) -> str:
        """The list that error messages show, such as `cpu:0-3, cuda:0`."""
        return ", ".join([f"cpu:{_ranges(self.cores)}", *(f"cuda:{index}" for index in range(self.gpus))])

    def missing(self, device: DeviceSpec) -> tuple[str, ...]:
        """The parts of `device` that this machine does not have."""
        present = self.cores if device.kind == "cpu" else range(self.gpus)
        return tuple(
            part for part, index in zip(device.parts, device.indices, strict=True) if index not in present
        )


def parse_device(text: str, field: str = "device") -> DeviceSpec:
    """Read one device name.

    Args:
        text: `cpu:0`, `cpu:2-5`, `cpu:0-1,4` (one device of these cores), `cuda:0`, `cuda:0,cuda:1`.
        field: the option that the text came from, for the error message.

    Raises:
        DeviceError: the text is not a device name, mixes kinds, or names a core or a GPU twice.
    """
    kinds: list[Literal["cpu", "cuda"]] = []
    indices: list[int] = []
    for part in text.split(","):
        match = _PART.fullmatch(part.strip())
        if match is None or (match[1] is None and not kinds):
            raise DeviceError(field, text, _FORMS)
        first, last = int(match[2]), int(match[3] or match[2])
        if last < first:
            raise DeviceError(field, text, f"the range {first}-{last} runs backwards; write {last}-{first}")
        if match[1] is not None:
            kinds.append("cpu" if match[1] == "cpu" else "cuda")
        indices.extend(range(first, last + 1))
    if len(set(kinds)) > 1:
        raise DeviceError(field, text, f"one device is either CPU cores or GPUs, not both; {_FORMS}")
    kind = kinds[0]
    twice = sorted({index for index in indices if indices.count(index) > 1})
    if twice:
        raise DeviceError(field, text, f"{kind}:{twice[0]} is given twice; name each one once")
    return DeviceSpec(kind, tuple(sorted(indices)) if kind == "cpu" else tuple(indices))


def available() -> Inventory:
    """Count the cores that this process may run on and the GPUs that torch can use.

    CUDA is not initialised, so that a process may still set `CUDA_VISIBLE_DEVICES` or start workers.
    """
    return Inventory(usable_cores(), _count_gpus())


def usable_cores() -> tuple[int, ...]:
    """The cores that the calling thread may run on, ascending."""
    if not hasattr(os, "sched_getaffinity"):
        return tuple(range(os.cpu_count() or 1))
    return tuple(sorted(os.sched_getaffinity(0)))


def check_devices(
    target: DeviceSpec, drafts: Sequence[DeviceSpec], inventory: Inventory, *, share_gpu: bool = False
) -> None:
    """Refuse devices that do not exist or that two models would share.

    Args:
        share_gpu: let them share GPUs.

    Raises:
        DeviceError: names the option, what is wrong, and the list of what there is.
    """
    owners: dict[str, str] = {}
    fields = ["target_devices", *["draft_devices"] * len(drafts)]
    for field, device in zip(fields, [target, *drafts], strict=True):
        missing = inventory.missing(device)
        if missing:
            raise DeviceError(
                field, str(device), f"there is no {', '.join(missing)} here; choose from {inventory}"
            )
        for part in device.parts:
            if part in owners and not (share_gpu and device.kind == "cuda"):
                raise DeviceError(
                    field,
                    str(device),
                    f"{part} is already given to {owners[part]}; two models on one device slow each other "
                    f"down; choose another of {inventory}{_SHARING if device.kind == 'cuda' else ''}",
                )
            owners[part] = field


def default_devices(
    inventory: Inventory,
    draft_count: int = 1,
    *,
    target: DeviceSpec | None = None,
    drafts: Sequence[DeviceSpec] | None = None,
) -> tuple[DeviceSpec, tuple[DeviceSpec, ...]]:
    """Choose the devices that the caller did not name, among those that nobody has.

    With more GPUs than drafts, each draft gets one of the last GPUs and the target the others. With fewer,
    the target gets all GPUs and each draft one core. Without GPUs each draft gets one of the last cores and
    the target the others.

    Args:
        inventory: what there is.
        draft_count: number of drafts to place if `drafts` is None.
        target: the target's device if the caller named it.
        drafts: the drafts' devices if the caller named them.

    Raises:
        DeviceError: too little is left to keep the models apart.
    """
    given = {part for device in (target, *(drafts or ())) if device is not None for part in device.parts}
    gpus = [index for index in range(inventory.gpus) if f"cuda:{index}" not in given]
    cores = [core for core in inventory.cores if f"cpu:{core}" not in given]
    kept = 0 if target is not None else 1
    if drafts is None and draft_count > 0:
        if len(gpus) - kept >= draft_count:
            gpus, chosen = gpus[:-draft_count], gpus[-draft_count:]
            drafts = [DeviceSpec("cuda", (index,)) for index in chosen]
        else:
            if len(cores) - (0 if gpus else kept) < draft_count:
                remedy = f"no core is left for it of {inventory}; pass --draft none, or name other devices"
                raise DeviceError("draft_devices", "default", remedy)
            cores, chosen = cores[:-draft_count], cores[-draft_count:]
            drafts = [DeviceSpec("cpu", (core,)) for core in chosen]
    if target is None:
        if not gpus and not cores:
            remedy = f"the drafts have all of {inventory}; name fewer draft devices"
            raise DeviceError("target_devices", "default", remedy)
        target = DeviceSpec("cuda", tuple(gpus)) if gpus else DeviceSpec("cpu", tuple(cores))
    return target, tuple(drafts or ())


def other_cores(target: DeviceSpec, inventory: Inventory) -> tuple[int, ...]:
    """The cores for everything that is not the target: all but the target's, or all if none remain."""
    return tuple(core for core in inventory.cores if core not in target.cores) or inventory.cores


def pin_thread(cores: Iterable[int]) -> tuple[int, ...]:
    """Let the calling thread, and the threads that it will start, run on these cores only.

    Returns:
        The cores that it could use before, so that the caller can undo this.

    Raises:
        DeviceError: one of the cores does not exist here.
    """
    wanted, before = sorted(set(cores)), usable_cores()
    if hasattr(os, "sched_setaffinity"):
        with suppress(OSError, ValueError, OverflowError):
            os.sched_setaffinity(0, wanted)
        # The kernel drops unknown cores in silence as long as one of the others exists.
        if usable_cores() != tuple(wanted):
            os.sched_setaffinity(0, range(_CORE_NUMBERS_MAX))
            present = usable_cores()
            os.sched_setaffinity(0, before)
            remedy = f"not all of these cores exist here; choose from {Inventory(present)}"
            raise DeviceError("device", f"cpu:{_ranges(wanted)}", remedy)
    return before


def let_others_first() -> None:
    """On Linux, threads of the priority that this one had go before it, and before those that it starts."""
    if sys.platform == "linux":
        thread = threading.get_native_id()
        lower = os.getpriority(os.PRIO_PROCESS, thread) + _NICENESS  # to raise it would need rights
        os.setpriority(os.PRIO_PROCESS, thread, min(lower, _NICENESS_MAX))


def pin_process(cores: Iterable[int]) -> tuple[int, ...]:
    """Let every thread of this process, present and future, run on these cores only.

    Returns:
        The cores that the calling thread could use before, so that the caller can undo this.

    Raises:
        DeviceError: one of the cores does not exist here.
    """
    wanted = tuple(cores)
    before = pin_thread(wanted)
    pin_threads(thread_ids(), wanted)
    return before


def thread_ids(names: tuple[str, ...] = ("",)) -> set[int]:
    """The operating system's numbers of this process's threads; none where it does not tell.

    Args:
        names: what the threads' names begin with, one of these.
    """
    found = set()
    for task in Path("/proc/self/task").glob("*"):
        with suppress(OSError):  # one that has just ended
            if (task / "comm").read_text().startswith(names):
                found.add(int(task.name))
    return found


def pin_threads(threads: Iterable[int], cores: Iterable[int]) -> None:
    """Let these threads, of this process or of its children, run on these cores only.

    Args:
        threads: the operating system's numbers; those that have ended are passed over.
        cores: existing cores.
    """
    wanted = tuple(cores)
    for thread in threads if hasattr(os, "sched_setaffinity") else ():
        with suppress(ProcessLookupError):
            os.sched_setaffinity(thread, wanted)


def thread_environment(device: DeviceSpec) -> dict[str, str]:
    """Environment variables for a worker on `device`; they count only if set before torch is imported."""
    count = str(max(1, len(device.cores)))
    variables = {
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        # A binding inherited from the shell would move the pool off the cores that the engine is pinned to.
        "OMP_PROC_BIND": "false",
        "TOKENIZERS_PARALLELISM": "false",
        # torch asks for huge pages for large tensors: products stream their weights 10 to 20 % faster.
        "THP_MEM_ALLOC_ENABLE": "1",
    }
    return variables | ({"CUDA_VISIBLE_DEVICES": ""} if device.kind == "cpu" else {})


def _count_gpus() -> int:
    if not any(Path(path).exists() for path in _GPU_DRIVER_FILES):
        return 0
    from torch import cuda

    return cuda.device_count()


def _ranges(indices: Sequence[int]) -> str:
    """Write ascending numbers as ranges: `0-2,5`."""
    runs: list[list[int]] = []
    for index in indices:
        if runs and index == runs[-1][-1] + 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
