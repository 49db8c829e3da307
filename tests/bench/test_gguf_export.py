"""The exported file holds the model's own weights in llama.cpp's order."""

import gguf
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from amusd.bench.gguf_export import export
from amusd.errors import InputError
from amusd.models.names import resolve_name

NAME = "demo-small"


@pytest.fixture(scope="module")
def model():
    return AutoModelForCausalLM.from_pretrained(resolve_name(NAME), dtype=torch.bfloat16)


@pytest.fixture(scope="module")
def tensors(tmp_path_factory):
    path = tmp_path_factory.mktemp("gguf") / "model.gguf"
    export(NAME, "draft", path, dtype="bfloat16")
    return {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}


def values(tensor):
    return gguf.dequantize(tensor.data, tensor.tensor_type)


def test_every_weight_is_there_once_and_the_tied_head_is_not(model, tensors):
    assert len(tensors) == len(list(model.parameters()))
    assert "output.weight" not in tensors


def test_matrices_keep_their_bits_and_dtype(model, tensors):
    layer = model.model.layers[1]
    for name, weight in (
        ("token_embd.weight", model.model.embed_tokens.weight),
        ("blk.1.ffn_down.weight", layer.mlp.down_proj.weight),
        ("blk.1.attn_v.weight", layer.self_attn.v_proj.weight),
    ):
        assert tensors[name].tensor_type == gguf.GGMLQuantizationType.BF16
        assert np.array_equal(values(tensors[name]), weight.detach().float().numpy()), name


def test_norms_are_float32(model, tensors):
    assert tensors["output_norm.weight"].tensor_type == gguf.GGMLQuantizationType.F32
    assert np.array_equal(values(tensors["output_norm.weight"]), model.model.norm.weight.detach().float())


def test_queries_and_keys_are_reordered_so_that_neighbours_are_rotated_together(model, tensors):
    config, layer = model.config, model.model.layers[0].self_attn
    for name, weight, heads in (
        ("blk.0.attn_q.weight", layer.q_proj.weight, config.num_attention_heads),
        ("blk.0.attn_k.weight", layer.k_proj.weight, config.num_key_value_heads),
    ):
        found, plain = values(tensors[name]), weight.detach().float().numpy()
        half = config.head_dim // 2
        for head in range(heads):
            own, other = found[head * 2 * half :][: 2 * half], plain[head * 2 * half :][: 2 * half]
            assert np.array_equal(own[0::2], other[:half]), name
            assert np.array_equal(own[1::2], other[half:]), name


def test_a_widened_model_is_exported_as_wide(tmp_path):
    export(NAME, "draft", tmp_path / "wide.gguf", dtype="bfloat16", widen=512)
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(tmp_path / "wide.gguf").tensors}
    assert values(tensors["blk.0.ffn_up.weight"]).shape[0] == 512


def test_what_is_no_llama_is_refused(tmp_path):
    from transformers import GPT2Config, GPT2LMHeadModel

    GPT2LMHeadModel(GPT2Config(n_layer=1, n_head=2, n_embd=8, vocab_size=16)).save_pretrained(
        tmp_path / "gpt2"
    )
    with pytest.raises(InputError, match="only Llama models"):
        export(str(tmp_path / "gpt2"), "target", tmp_path / "gpt2.gguf")
