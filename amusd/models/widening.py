"""Widening: a model that costs like a big one and says what the small one says."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from amusd.errors import InputError, ModelError
from amusd.models.families import text_config
from amusd.models.sizes import ffn_size, set_ffn_size

# The attribute names of the products into and out of an FFN, by family.
_INPUTS = ("gate_proj", "up_proj", "c_fc", "fc1")
_OUTPUTS = ("down_proj", "c_proj", "fc2")


@torch.no_grad()
def widen(model: Any, ffn: int) -> Any:
    """Give each FFN more intermediate neurons, with random inputs and zero outputs.

    The logits stay those of the small model (the added products are exact zeros), the time and the memory
    traffic become those of the big one.

    Args:
        model: a transformers causal LM; changed in place.
        ffn: intermediate neurons of each FFN afterwards.

    Returns:
        The same model.

    Raises:
        InputError: `ffn` is smaller than what the model has.
        ModelError: an FFN whose products have names that are not known, such as a mixture of experts.
    """
    old = ffn_size(model.config)
    if ffn < old:
        raise InputError("widen", ffn, f"the model's FFNs have {old} neurons already; give at least {old}")
    blocks = [module for module in model.modules() if _is_ffn(module)]
    if len(blocks) != text_config(model.config).num_hidden_layers:
        raise ModelError(
            f"target: {model.config.model_type}: only plain and gated FFNs can be widened; leave widen at 0"
        )
    generator = torch.Generator().manual_seed(0)
    for block in blocks:
        for name in _INPUTS:
            if hasattr(block, name):
                _add_outputs(getattr(block, name), ffn - old, generator)
        for name in _OUTPUTS:
            if hasattr(block, name):
                _add_inputs(getattr(block, name), ffn - old)
        if hasattr(block, "intermediate_size"):
            block.intermediate_size = ffn
    set_ffn_size(model.config, ffn)
    return model


def _is_ffn(module: nn.Module) -> bool:
    return any(hasattr(module, name) for name in _INPUTS) and any(hasattr(module, name) for name in _OUTPUTS)


def _add_outputs(product: nn.Module, count: int, generator: torch.Generator) -> None:
    """Append neurons with random weights, as large as the model's own would be; biases are zero.

    They are bfloat16 numbers, so the widened model is the same one in bfloat16 and in float32.
    """
    weight: Tensor = product.weight  # type: ignore[assignment]
    outputs, inputs = _shape(product)
    shape = (inputs, count) if isinstance(product, Conv1D) else (count, inputs)
    extra = torch.empty(shape).normal_(std=1 / math.sqrt(inputs), generator=generator).bfloat16().to(weight)
    product.weight = nn.Parameter(torch.cat([weight, extra], _output_dim(product)), requires_grad=False)
    bias: Tensor | None = product.bias  # type: ignore[assignment]
    if bias is not None:
        product.bias = nn.Parameter(torch.cat([bias, bias.new_zeros(count)]), requires_grad=False)
    _set_shape(product, inputs, outputs + count)


def _add_inputs(product: nn.Module, count: int) -> None:
    """Read `count` more neurons with weight zero."""
    weight: Tensor = product.weight  # type: ignore[assignment]
    outputs, inputs = _shape(product)
    dim = 1 - _output_dim(product)
    zeros = weight.new_zeros((count, outputs) if dim == 0 else (outputs, count))
    product.weight = nn.Parameter(torch.cat([weight, zeros], dim), requires_grad=False)
    _set_shape(product, inputs + count, outputs)


def _output_dim(product: nn.Module) -> int:
    return 1 if isinstance(product, Conv1D) else 0


def _shape(product: nn.Module) -> tuple[int, int]:
    """(outputs, inputs) of a Linear or a Conv1D, whose weight is stored transposed."""
    weight: Tensor = product.weight  # type: ignore[assignment]
    dim = _output_dim(product)
    return weight.shape[dim], weight.shape[1 - dim]


def _set_shape(product: nn.Module, inputs: int, outputs: int) -> None:
    if isinstance(product, Conv1D):
        product.nf, product.nx = outputs, inputs
    else:
        product.in_features, product.out_features = inputs, outputs  # type: ignore[assignment]
