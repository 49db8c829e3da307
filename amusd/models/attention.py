"""Attention on a CPU without copying the keys for grouped queries.

transformers repeats keys and values for every query head when a mask is given; torch's CPU kernel reads
them in place instead. Measured: 83 us against 112 us per layer at [1, 6 heads, 4 rows] over 512 cells of
2 key heads (AMD Zen 5, one core, bf16). On a GPU the repetition stays: with a mask the grouped form falls
back to a slow kernel there.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "amusd_sdpa"


def attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Scaled dot-product attention in the form that transformers' models call.

    Args:
        module: the attention layer.
        query: [batch, heads, rows, head_dim].
        key, value: [batch, kv_heads, cells, head_dim].
        attention_mask: [batch, 1, rows, cells], or None for the plain causal one.
        kwargs: `scaling` and `dropout`, and what only transformers' own function understands.

    Returns:
        [batch, rows, heads, head_dim] and None.
    """
    plain = query.device.type == "cpu" and attention_mask is not None and not kwargs.get("dropout")
    if not plain or kwargs.get("position_bias") is not None or kwargs.get("softcap") is not None:
        result: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, **kwargs
        )
        return result
    output = torch.nn.functional.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=attention_mask,
        scale=kwargs.get("scaling"),
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return output.transpose(1, 2).contiguous(), None


def install(model: Any) -> None:
    """Let a model that attends by torch's kernel use `attend`; any other is left as it is."""
    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    if model.config._attn_implementation == "sdpa":
        model.set_attn_implementation(NAME)
