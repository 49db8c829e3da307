"""Decoder layers of the Llama kind in a dozen operations, on the weights that transformers loaded.

A small model's pass is mostly overhead: in transformers' code a layer takes some forty operations and as
many calls of modules, about 0.6 ms on one core whatever the layer's size. Here query, key and value are one
product, and so are gate and up; rotations come from a table; keys and values go straight into their cells.

Laws:
1. Only a model whose layers are understood completely is taken (`lean_decoder` returns None for all others),
   and only when it gives transformers' own logits up to rounding; everything else runs transformers' code.
2. The fused weights are the model's own storage: the layers they came from become views of them.
3. Rows of all requests lie together in the products, so a request takes as many as it has. Attention gets
   them request by request, and those of all query heads that share a key head as so many rows of one head, in
   multiples of four even where the products need not: with fewer its bits differ.

Measured on one AMD Zen 3 core, float32, the 1 M draft (two layers, 512 cells), one row and four rows:
transformers' code 1.9 and 2.1 ms, this one 0.7 and 1.0.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from amusd.models.cells import Cells
from amusd.models.families import mask_windows
from amusd.models.packing import takes_any_rows

ROWS_MULTIPLE = 4
KINDS = {"llama", "qwen2", "qwen3", "mistral"}
_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"silu": functional.silu, "gelu": functional.gelu}
_PROBE_TOKENS = 24
_DIFFERENCE_MAX = {torch.float32: 1e-4, torch.float64: 1e-9}  # of the logits' spread; 0.05 for half precision


@dataclass(slots=True)
class _Layer:
    """One decoder layer's weights."""

    kind: str  # which mask it sees
    input_norm: Tensor  # [hidden]
    qkv: nn.Module  # hidden to (heads + 2 kv_heads) * head_dim
    query_norm: Tensor | None  # [head_dim]
    key_norm: Tensor | None  # [head_dim]
    output: nn.Module  # heads * head_dim to hidden
    ffn_norm: Tensor  # [hidden]
    gate_up: nn.Module  # hidden to 2 ffn
    down: nn.Module  # ffn to hidden


class LeanDecoder(nn.Module):
    """Runs what `lean_decoder` built; made by it alone.

    Args:
        model: transformers' causal LM.
        layers: its decoder layers.
        context: positions of the rotation table.

    Attributes:
        group: query heads that share a key head.
    """

    def __init__(self, model: Any, layers: list[_Layer], context: int) -> None:
        super().__init__()
        config = model.config
        self._layers = layers
        self.rows_multiple = ROWS_MULTIPLE
        self.products = nn.ModuleList(
            product for each in layers for product in (each.qkv, each.output, each.gate_up, each.down)
        )
        self.head: nn.Module = model.lm_head
        self._embedding = model.model.embed_tokens.weight  # [vocab, hidden]
        self._final_norm = model.model.norm.weight
        self._epsilon = float(config.rms_norm_eps)
        self._activation = _ACTIVATIONS[config.hidden_act]
        self._heads = config.num_attention_heads
        self._kv_heads = config.num_key_value_heads
        self.group = self._heads // self._kv_heads
        self._head_dim = head_dim = layers[0].output.in_features // self._heads
        self._scaling = head_dim**-0.5
        self._cos, self._sin = _rotations(model, context)  # [context, 1, head_dim]

    def on_packed(self) -> None:
        """Take the layers' products from `products` again, after some were replaced by packed ones."""
        for index, layer in enumerate(self._layers):
            layer.qkv, layer.output, layer.gate_up, layer.down = self.products[4 * index : 4 * index + 4]
        if all(takes_any_rows(product) for product in (*self.products, self.head)):
            self.rows_multiple = 1

    def forward(
        self,
        ids: Tensor,
        positions: Tensor,
        masks: Mapping[str, Tensor],
        cells: Cells,
        places: Tensor | None,
        count: int,
        *,
        head: bool,
    ) -> Tensor | None:
        """Run one pass.

        Args:
            ids, positions: [rows] int64, those of all requests.
            masks: by layer type, [batch, 1, wide, attended] additive, wide a multiple of `ROWS_MULTIPLE`.
            cells: begun for this pass.
            places: [rows * group] int64 below batch * wide, where attention has each row, once for every
                query head of a group; None where that is batch * wide in order.
            count: rows that are no padding: the first ones.
            head: compute the logits too. Else the last layer ends where it has written its cells.

        Returns:
            [rows, vocabulary] logits in the model's dtype if `head`, else None.
        """
        batch, _, wide, _ = next(iter(masks.values())).shape
        rows, group, kv_heads = ids.shape[0], self.group, self._kv_heads
        own = None if places is None else places[: count * group]
        hidden = functional.embedding(ids, self._embedding)  # [rows, hidden]
        cos, sin = self._cos[positions], self._sin[positions]  # [rows, 1, head_dim]
        heads, both, width = self._heads, self._heads + self._kv_heads, self._head_dim
        for index, layer in enumerate(self._layers):
            qkv = layer.qkv.forward(self._norm(hidden, layer.input_norm)).view(rows, -1, width)
            turned = qkv[:, :both]  # [rows, heads + kv_heads, head_dim]
            if layer.query_norm is not None:
                assert layer.key_norm is not None
                queries = self._norm(turned[:, :heads], layer.query_norm)
                turned = torch.cat((queries, self._norm(turned[:, heads:], layer.key_norm)), dim=1)
            # Not addcmul: in bfloat16 its rounding depends on where in the tensor an element lies.
            turned = (turned * cos).add_(turned.roll(width // 2, -1).mul_(sin))
            keys, values = cells.write(turned[:, heads:], qkv[:, both:], index)
            if not head and layer is self._layers[-1]:
                return None
            query = turned[:, :heads].view(rows, kv_heads, group, width).transpose(1, 2)
            query = query.reshape(-1, kv_heads, width)  # [rows * group, kv_heads, head_dim]
            if own is not None:
                spread = query.new_zeros((batch * wide, kv_heads, width))
                query = spread.index_copy_(0, own, query[: count * group])
            attention = functional.scaled_dot_product_attention(
                query.view(batch, wide, kv_heads, width).transpose(1, 2),
                keys,
                values,
                attn_mask=masks[layer.kind],
                scale=self._scaling,
            ).transpose(1, 2)  # [batch, wide, kv_heads, head_dim]
            attended = attention.reshape(-1, kv_heads, width)
            if places is not None:
                attended = attended.index_select(0, places)
            attended = attended.view(rows, group, kv_heads, width).transpose(1, 2).reshape(rows, -1)
            hidden = hidden + layer.output.forward(attended)
            gate, up = layer.gate_up.forward(self._norm(hidden, layer.ffn_norm)).chunk(2, -1)
            hidden = hidden + layer.down.forward(self._activation(gate).mul_(up))
        logits: Tensor = self.head.forward(self._norm(hidden, self._final_norm))
        return logits

    def _norm(self, rows: Tensor, weight: Tensor) -> Tensor:
        """RMS norm over the last dimension, in float32 as transformers does it."""
        wide = rows.float()
        norm: Tensor = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)  # one pass over the row
        scale = norm.square_().div_(wide.shape[-1]).add_(self._epsilon).rsqrt_()
        return (wide * scale).to(rows.dtype) * weight


def lean_decoder(model: Any, context: int) -> LeanDecoder | None:
    """Fuse a model's layers, or return None for one that is not understood completely.

    Args:
        model: transformers' causal LM in evaluation mode, all on one device. Its layers' weights become
            views of the fused ones.
        context: positions that will be used.
    """
    if not _is_understood(model):
        return None
    windows = set(mask_windows(model.config))
    types = getattr(model.config, "layer_types", None) or [next(iter(windows))] * len(model.model.layers)
    expected = _probe(model)
    layers = [_fuse(layer, kind) for layer, kind in zip(model.model.layers, types, strict=True)]
    decoder = LeanDecoder(model, layers, context)
    return decoder if _agrees(decoder, model, expected) else None


def _is_understood(model: Any) -> bool:
    config = model.config
    rope = getattr(config, "rope_parameters", None) or {}
    return (
        config.model_type in KINDS
        and type(model).__name__.endswith("ForCausalLM")
        and getattr(config, "hidden_act", None) in _ACTIVATIONS
        and rope.get("rope_type", "default") in ("default", "linear", "llama3")
        and len({parameter.device for parameter in model.parameters()}) == 1
        and all(type(layer) is nn.Linear for layer in _linears(model))
    )


def _linears(model: Any) -> list[nn.Module]:
    found = [model.lm_head]
    for layer in model.model.layers:
        attention, ffn = layer.self_attn, layer.mlp
        found += [attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj]
        found += [ffn.gate_proj, ffn.up_proj, ffn.down_proj]
    return found


def _fuse(layer: Any, kind: str) -> _Layer:
    attention, ffn = layer.self_attn, layer.mlp
    query_norm, key_norm = getattr(attention, "q_norm", None), getattr(attention, "k_norm", None)
    return _Layer(
        kind=kind,
        input_norm=layer.input_layernorm.weight,
        qkv=_stack(attention.q_proj, attention.k_proj, attention.v_proj),
        query_norm=None if query_norm is None else query_norm.weight,
        key_norm=None if key_norm is None else key_norm.weight,
        output=attention.o_proj,
        ffn_norm=layer.post_attention_layernorm.weight,
        gate_up=_stack(ffn.gate_proj, ffn.up_proj),
        down=ffn.down_proj,
    )


@torch.no_grad()
def _stack(*linears: nn.Linear) -> nn.Linear:
    """One linear layer that gives the outputs of several; their weights become views of its own."""
    sizes = [linear.out_features for linear in linears]
    first = linears[0]
    stacked = nn.Linear(first.in_features, sum(sizes), bias=first.bias is not None, device="meta")
    stacked.weight = nn.Parameter(torch.cat([linear.weight for linear in linears]), requires_grad=False)
    for linear, part in zip(linears, torch.split(stacked.weight, sizes), strict=True):
        linear.weight = nn.Parameter(part, requires_grad=False)
    if first.bias is not None:
        stacked.bias = nn.Parameter(torch.cat([linear.bias for linear in linears]), requires_grad=False)
    return stacked


@torch.inference_mode()
def _rotations(model: Any, context: int) -> tuple[Tensor, Tensor]:
    """Tables [context, 1, head_dim] of cosines and of sines, the first half of these with its sign turned.

    Rotating by them needs no negation: x cos + roll(x) sin.
    """
    weight = model.model.embed_tokens.weight
    positions = torch.arange(context, device=weight.device)[None]
    cos, sin = model.model.rotary_emb(weight[:1, None], positions)  # [1, context, head_dim]
    sin[..., : sin.shape[-1] // 2].neg_()
    return cos[0, :, None], sin[0, :, None]


def _probe_ids(model: Any) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(model.config.vocab_size, (1, _PROBE_TOKENS), generator=generator)
    return ids.to(model.model.embed_tokens.weight.device)


@torch.inference_mode()
def _probe(model: Any) -> Tensor:
    """[tokens, vocabulary] logits of transformers' own code."""
    logits: Tensor = model(input_ids=_probe_ids(model), use_cache=False).logits[0]
    return logits.float()


@torch.inference_mode()
def _agrees(decoder: LeanDecoder, model: Any, expected: Tensor) -> bool:
    """Whether the lean pass gives the same logits up to rounding."""
    ids = _probe_ids(model)
    weight = model.model.embed_tokens.weight
    positions = torch.arange(_PROBE_TOKENS, device=ids.device)
    masks = {}
    for kind, window in mask_windows(model.config).items():
        distance = positions[:, None] - positions[None]
        hidden = (distance < 0) | (distance >= (window or _PROBE_TOKENS))
        mask = torch.zeros_like(hidden, dtype=weight.dtype).masked_fill_(hidden, -torch.inf)
        masks[kind] = mask.repeat_interleave(decoder.group, 0)[None, None]
    cells = Cells(1, _PROBE_TOKENS)
    cells.reserve(1, _PROBE_TOKENS, 1)
    rows = positions.cpu().numpy()
    cells.begin(range(1), np.zeros_like(rows), rows, _PROBE_TOKENS)
    logits = decoder.forward(ids[0], positions, masks, cells, None, _PROBE_TOKENS, head=True)
    assert logits is not None
    spread = float(expected.std()) or 1.0
    difference = float((logits.float() - expected).abs().max()) / spread
    return difference < _DIFFERENCE_MAX.get(weight.dtype, 0.05)
