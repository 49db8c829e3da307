"""Writing a Llama model as a GGUF file, so that llama.cpp runs the same weights.

The file holds no tokenizer: prompts go in as token ids.
"""

from pathlib import Path
from typing import Any, Final

import gguf
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from amusd.errors import InputError
from amusd.models.names import Role, find_source, quiet
from amusd.models.widening import widen as widen_model

_LAYER: Final = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_OUTSIDE: Final = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def export(name: str, role: Role, path: Path, *, dtype: str = "auto", widen: int = 0) -> None:
    """Load a model as transformers does and write it.

    Args:
        name, role, dtype, widen: as `amusd.models.ModelSpec` takes them.
        path: of the GGUF file.

    Raises:
        InputError: no such model, or not a plain Llama.
    """
    source = find_source(name, role)
    with quiet():
        model: Any = AutoModelForCausalLM.from_pretrained(
            source.path, dtype=dtype, local_files_only=source.local_only
        )
    config = model.config
    if config.model_type != "llama" or config.rope_parameters["rope_type"] != "default":
        raise InputError(role, name, "only Llama models with plain positions can be exported to GGUF here")
    if widen:
        widen_model(model, widen)
    writer = gguf.GGUFWriter(path, "llama")
    _write_sizes(writer, config)
    weights = model.state_dict()
    if config.tie_word_embeddings:
        weights.pop("lm_head.weight", None)  # llama.cpp takes the embeddings where there is no head
    for key, weight in weights.items():
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
        for part, count in heads.items():
            if part in key:
                weight = _interleaved(weight, count)
        _write_tensor(writer, _name(key), weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _write_sizes(writer: Any, config: Any) -> None:
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("no_vocab")


def _write_tensor(writer: Any, name: str, weight: Tensor) -> None:
    """Matrices in the model's own dtype, vectors in float32, as llama.cpp wants them."""
    kinds = {torch.bfloat16: gguf.GGMLQuantizationType.BF16, torch.float16: gguf.GGMLQuantizationType.F16}
    kind = gguf.GGMLQuantizationType.F32 if weight.dim() == 1 else kinds.get(weight.dtype)
    kind = gguf.GGMLQuantizationType.F32 if kind is None else kind
    writer.add_tensor(name, gguf.quantize(weight.float().numpy(), kind), raw_dtype=kind)


def _name(key: str) -> str:
    stem = key.removesuffix(".weight")
    if stem in _OUTSIDE:
        return f"{_OUTSIDE[stem]}.weight"
    _, _, layer, part = stem.split(".", 3)  # model.layers.N.part
    return f"blk.{layer}.{_LAYER[part]}.weight"


def _interleaved(weight: Tensor, heads: int) -> Tensor:
    """Rows [heads * 2 * half, inputs] reordered: llama.cpp rotates neighbours, transformers halves."""
    rows, inputs = weight.shape
    half = rows // heads // 2
    return weight.view(heads, 2, half, inputs).transpose(1, 2).reshape(rows, inputs)
