"""Random tiny models of every supported family."""

import copy
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
    OPTConfig,
    PhiConfig,
    PreTrainedConfig,
    Qwen2Config,
    Qwen2MoeConfig,
    Qwen3Config,
)

from amusd.models import LoadedModel, wrap_model
from amusd.models.loading import streamline

VOCABULARY = 96
WINDOW = 11  # smaller than the prompts, so that it matters
_MIXED = ["sliding_attention", "full_attention"]


def _sizes(**more: Any) -> dict[str, Any]:
    """Sizes of a tiny model that is still like a real one.

    Initial weights are wide: with transformers' own, the logits of a random model are nearly flat. Products
    are more than 16**3 multiplications at 4 rows: torch gives smaller ones to another kernel, by row count.
    """
    return {
        "vocab_size": VOCABULARY,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "initializer_range": 0.3,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 0,
        **more,
    }


def _gemma_sizes() -> dict[str, Any]:
    """With its scaled embeddings tied to the LM head, a random Gemma repeats one token for ever."""
    return _sizes(
        head_dim=16,
        query_pre_attn_scalar=16,
        sliding_window=WINDOW,
        layer_types=_MIXED,
        tie_word_embeddings=False,
    )


FAMILIES: dict[str, Callable[[], PreTrainedConfig]] = {
    "llama": lambda: LlamaConfig(**_sizes()),
    "qwen2": lambda: Qwen2Config(**_sizes()),
    "qwen2-window": lambda: Qwen2Config(
        **_sizes(use_sliding_window=True, sliding_window=WINDOW, layer_types=_MIXED)
    ),
    "qwen3": lambda: Qwen3Config(**_sizes(head_dim=16)),
    "mistral": lambda: MistralConfig(**_sizes(sliding_window=None)),
    "mistral-window": lambda: MistralConfig(**_sizes(sliding_window=WINDOW)),
    "gemma2": lambda: Gemma2Config(**_gemma_sizes()),
    "gemma3": lambda: Gemma3TextConfig(**_gemma_sizes()),
    "gpt2": lambda: GPT2Config(
        vocab_size=VOCABULARY,
        n_embd=64,
        n_layer=2,
        n_head=4,
        n_positions=256,
        initializer_range=0.3,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=0,
    ),
    "opt": lambda: OPTConfig(
        vocab_size=VOCABULARY,
        hidden_size=64,
        word_embed_proj_dim=64,
        ffn_dim=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=256,
        init_std=0.3,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=0,
    ),
    "phi": lambda: PhiConfig(**_sizes(num_key_value_heads=4)),
    "mixtral": lambda: MixtralConfig(**_sizes(num_local_experts=32, sliding_window=None)),
    "qwen2-moe": lambda: Qwen2MoeConfig(
        **_sizes(
            num_experts=32,
            num_experts_per_tok=2,
            moe_intermediate_size=32,
            shared_expert_intermediate_size=96,
        )
    ),
}

_UNDERSTOOD = ("llama", "qwen2", "qwen2-window", "qwen3", "mistral", "mistral-window")
LEAN = [f"{family}-lean" for family in _UNDERSTOOD]
MODELS = [*FAMILIES, *LEAN]
"""Every family as transformers runs it, then those whose layers `amusd.models.lean` runs."""


@cache
def _weights(family: str) -> Any:
    torch.manual_seed(7)
    model = AutoModelForCausalLM.from_config(FAMILIES[family]())
    for name, parameter in model.named_parameters():  # biases start as zeros, which would hide their loss
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.1)
    return model.eval()


def plain_model(family: str) -> Any:
    """A fresh float32 copy that only transformers has touched."""
    return copy.deepcopy(_weights(family.removesuffix("-lean")))


@cache
def loaded_model(family: str, dtype: torch.dtype = torch.float32) -> LoadedModel:
    """The same weights, ready for a runner."""
    loaded = wrap_model(plain_model(family).to(dtype), family)
    if family in LEAN:
        streamline(loaded, context=256)
        assert loaded.lean is not None
    return loaded


def random_tokens(count: int, seed: int) -> list[int]:
    """Token ids, never an end token."""
    generator = torch.Generator().manual_seed(seed)
    tokens: list[int] = torch.randint(2, VOCABULARY, (count,), generator=generator).tolist()
    return tokens


def generate(family: str, prompt: list[int], count: int) -> list[int]:
    """What `transformers.generate` writes after a prompt, greedy, in float32, never ending early."""
    model = plain_model(family)
    output = model.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        do_sample=False,
        min_new_tokens=count,
        max_new_tokens=count,
        suppress_tokens=[1],
    )
    tokens: list[int] = output[0, len(prompt) :].tolist()
    return tokens
