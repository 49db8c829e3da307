"""Products of float32 rows with weights rounded to one byte each, for a draft on a CPU.

A draft need not be exact: what it says decides how often it is right, never the text. Beside a target that
streams its own weights, a draft's come from memory in every step, and a quarter or half of the bytes is that
much of the step. FBGEMM rounds each output's weights to int8, and the rows of a product, together, to eight
bits, or to seven on a CPU whose products of bytes could overflow. A model of which this changes too much,
such as one with few huge activations, is left as it is.

Measured, one Zen 4 core beside one that reads memory, the nine products of the larger embedded draft at four
rows: packed bfloat16 0.42 ms, float16 weights 0.70, this 0.26.
"""

import warnings
from functools import cache
from typing import Any, Final

import torch
from torch import Tensor, nn

from amusd.models.families import text_config

_OPERATORS: Final = ("linear_prepack", "linear_dynamic")
_LARGEST: Final = 127  # int8
_PROBE_TOKENS: Final = 48
CHANGE_MAX: Final = 0.1
"""Total variation, mean over the probe, up to which a model is rounded."""


def has_byte_packing() -> bool:
    """Whether this build of torch has these products, and can still make what they take."""
    return (
        "fbgemm" in torch.backends.quantized.supported_engines
        and hasattr(torch, "quantize_per_channel")
        and all(hasattr(torch.ops.quantized, name) for name in _OPERATORS)
    )


class ByteLinear(nn.Module):
    """A linear layer whose weights are rounded to int8, with a scale for each output.

    Args:
        linear: a layer on a CPU; it is read, not kept.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features = linear.in_features
        self.out_features = linear.out_features
        weight = linear.weight.detach().float()
        scales = (weight.abs().amax(1).double() / _LARGEST).clamp_min(torch.finfo(torch.float32).tiny)
        with warnings.catch_warnings():
            # torch will drop this way of making quantized tensors some day; `has_byte_packing` is False then.
            warnings.simplefilter("ignore")
            rounded = torch.quantize_per_channel(
                weight, scales, torch.zeros_like(scales).long(), 0, torch.qint8
            )
        bias = None if linear.bias is None else linear.bias.detach().float()
        self._packed = torch.ops.quantized.linear_prepack(rounded, bias)

    def forward(self, rows: Tensor) -> Tensor:
        """float32 [..., in_features] to [..., out_features]."""
        output: Tensor = torch.ops.quantized.linear_dynamic(rows, self._packed, _reduces_range())
        return output


@cache
def _reduces_range() -> bool:
    """Whether sums of two products of bytes have to fit 16 bits, as without AVX512-VNNI."""
    return not getattr(torch.cpu, "_is_vnni_supported", bool)()


def pack_in_bytes(model: nn.Module) -> int:
    """Replace the linear layers of a model by rounded ones, in place. Returns how many there were."""
    packed = 0
    for parent in list(model.modules()):
        for name, layer in parent.named_children():
            if type(layer) is nn.Linear:
                setattr(parent, name, ByteLinear(layer))
                packed += 1
    return packed


@torch.inference_mode()
def bears_bytes(model: Any) -> bool:
    """Whether a causal LM in float32 says nearly the same with its products rounded, as it is afterwards."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(text_config(model.config).vocab_size, (1, _PROBE_TOKENS), generator=generator)
    expected = _laws(model, ids)
    try:
        pack_in_bytes(model)
    except RuntimeError:  # a shape that FBGEMM does not take
        return False
    change = (_laws(model, ids) - expected).abs().sum(-1).mean() / 2
    return bool(change <= CHANGE_MAX)


def _laws(model: Any, ids: Tensor) -> Tensor:
    """[tokens, vocabulary] probabilities after each token."""
    laws: Tensor = model(input_ids=ids, use_cache=False).logits[0].float().softmax(-1)
    return laws
