"""The sizes of the three models."""

from dataclasses import dataclass

from transformers import LlamaConfig, LlamaForCausalLM

VOCABULARY_SIZE = 2048
CONTEXT_TOKENS = 2048


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of one Llama; heads are 64 wide, embeddings are tied."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    ffn: int

    def build(self) -> LlamaForCausalLM:
        """A freshly initialised float32 model."""
        config = LlamaConfig(
            vocab_size=VOCABULARY_SIZE,
            hidden_size=self.hidden,
            intermediate_size=self.ffn,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.kv_heads,
            head_dim=64,
            max_position_embeddings=CONTEXT_TOKENS,
            rope_theta=10_000.0,
            tie_word_embeddings=True,
            bos_token_id=0,
            eos_token_id=0,
            pad_token_id=0,
            attn_implementation="sdpa",
        )
        return LlamaForCausalLM(config)


SHAPES = {
    "target": Shape(hidden=384, layers=8, heads=6, kv_heads=2, ffn=1024),
    "draft-small": Shape(hidden=192, layers=2, heads=3, kv_heads=1, ffn=384),
    "draft-large": Shape(hidden=384, layers=2, heads=6, kv_heads=2, ffn=1024),
}
DRAFTS = ("draft-small", "draft-large")
