"""How many bytes weights and cells will take, known from the configuration alone."""

import copy
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedConfig

from amusd.devices import DeviceSpec
from amusd.errors import InputError, ModelError
from amusd.models.families import text_config

HEADROOM = 1.1  # activations, allocator slack and what else starts beside the model


def cells_bytes(
    config: PreTrainedConfig,
    slots: int,
    context: int,
    dtype: torch.dtype,
    *,
    block: int = 512,
    spare_cells: int = 0,
) -> int:
    """Bytes of all cells when every slot is full.

    Args:
        config: the model's configuration.
        slots: most requests at a time.
        context: most positions of a request.
        dtype: of the model.
        block: the cells of a slot are a multiple of this.
        spare_cells: cells of a slot beyond `context`.
    """
    part: Any = text_config(config)
    heads = part.num_attention_heads
    kv_heads = getattr(part, "num_key_value_heads", None) or heads
    width = getattr(part, "head_dim", None) or part.hidden_size // heads
    cells = -(-(context + spare_cells) // block) * block
    return int(2 * part.num_hidden_layers * slots * cells * kv_heads * width * dtype.itemsize)


def weights_bytes(config: PreTrainedConfig, dtype: torch.dtype, ffn: int = 0) -> int:
    """Bytes of the weights, tied ones counted once; `ffn` is the widened FFN size, 0 for the model's own."""
    shape = copy.deepcopy(config)
    if ffn:
        set_ffn_size(shape, ffn)
    with torch.device("meta"):
        model: nn.Module = AutoModelForCausalLM.from_config(shape)  # type: ignore[no-untyped-call]
    return sum(parameter.numel() for parameter in model.parameters()) * dtype.itemsize


def ffn_size(config: PreTrainedConfig) -> int:
    """Intermediate neurons of each FFN."""
    part = text_config(config)
    return int(getattr(part, _ffn_field(part)) or 4 * part.hidden_size)


def set_ffn_size(config: PreTrainedConfig, ffn: int) -> None:
    """Write the number of intermediate neurons under the name that the family uses."""
    part = text_config(config)
    setattr(part, _ffn_field(part), ffn)


def _ffn_field(config: PreTrainedConfig) -> str:
    for field in ("intermediate_size", "n_inner", "ffn_dim"):
        if hasattr(config, field):
            return field
    raise ModelError(f"target: the size of {config.model_type}'s FFNs is not known; leave widen at 0")


def available_bytes(devices: DeviceSpec) -> int:
    """Memory that is free on a device: of the GPUs together, or of the machine or its container."""
    if devices.kind == "cuda":
        return sum(torch.cuda.mem_get_info(index)[0] for index in devices.indices)
    free = psutil.virtual_memory().available
    group = Path("/sys/fs/cgroup")
    try:
        limit = (group / "memory.max").read_text().strip()
        used = int((group / "memory.current").read_text())
    except OSError:
        return int(free)
    return int(free) if limit == "max" else min(int(free), int(limit) - used)


def cells_total(wanted: int, least: int, cell_bytes: int, free: int, given: int | None) -> int:
    """How many cells of the target there may be, in all slots together.

    Args:
        wanted: cells of all requests when each is full.
        least: cells of one request.
        cell_bytes: bytes of a cell in all layers.
        free: bytes of memory beside the weights.
        given: kv_cache_memory_bytes.

    Returns:
        the cells that were wanted, or else as many as were given or are free.

    Raises:
        InputError: what was given does not hold one request, or is not there.
        ModelError: what is free does not hold one request.
    """
    room = int(free / HEADROOM) // cell_bytes
    if given is None:
        if room < least:
            raise ModelError(
                f"target: the cells of one request take {least * cell_bytes / 2**30:.2f} GiB, beside the "
                f"weights {free / 2**30:.2f} GiB are free; lower max_model_len, take more memory or devices, "
                "or a smaller model"
            )
        return min(wanted, room)
    total = min(wanted, given // cell_bytes)
    if total < least:
        remedy = f"one request takes {least * cell_bytes} bytes; give at least that, or lower max_model_len"
        raise InputError("kv_cache_memory_bytes", given, remedy)
    if total > room:
        remedy = f"beside the weights {free / 2**30:.2f} GiB are free; give less, or leave it out"
        raise InputError("kv_cache_memory_bytes", given, remedy)
    return total


def check_fits(who: str, devices: DeviceSpec, weights: int, cells: int, remedy: str) -> None:
    """Refuse before loading what does not fit.

    Args:
        who: role and name of the model.
        devices: where it is to run.
        weights, cells: bytes.
        remedy: how there can be fewer cells.

    Raises:
        ModelError: with the sizes and what to lower.
    """
    free = available_bytes(devices)
    if (weights + cells) * HEADROOM > free:
        fewer_cells = f"{remedy}, " if weights * HEADROOM < free else ""
        raise ModelError(
            f"{who}: does not fit on {devices}: weights {weights / 2**30:.2f} GiB and cells "
            f"{cells / 2**30:.2f} GiB, {free / 2**30:.2f} GiB free; {fewer_cells}take more memory or "
            "devices, or a smaller model"
        )
