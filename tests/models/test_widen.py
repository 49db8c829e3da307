"""Widening leaves what a model says as it is, and only makes it bigger."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from amusd.errors import InputError, ModelError
from amusd.models import widen
from amusd.models.names import find_source
from amusd.models.sizes import ffn_size
from tests.models.families import plain_model, random_tokens

FAMILIES = ["llama", "qwen2", "gemma2", "gpt2", "opt", "phi"]


@torch.inference_mode()
def logits(model: torch.nn.Module) -> torch.Tensor:
    return model(input_ids=torch.tensor([random_tokens(24, seed=1)])).logits[0]  # type: ignore[no-any-return]


@pytest.mark.parametrize("family", FAMILIES)
def test_widened_model_says_the_same_and_is_bigger(family: str) -> None:
    model = plain_model(family)
    size, before = sum(p.numel() for p in model.parameters()), logits(model)
    widen(model, 1024)
    after = logits(model)
    torch.testing.assert_close(after, before, rtol=1e-5, atol=1e-5 * float(before.abs().max()))
    assert torch.equal(after.argmax(-1), before.argmax(-1))
    assert sum(p.numel() for p in model.parameters()) > 2 * size
    assert ffn_size(model.config) == 1024


@pytest.mark.parametrize("family", FAMILIES)
def test_added_neurons_are_busy(family: str) -> None:
    """The traffic must be real: random inputs, not zeros that a kernel might skip."""
    model = plain_model(family)
    old = ffn_size(model.config)
    widen(model, old + 64)
    inputs = [m for n, m in model.named_modules() if n.endswith(("up_proj", "c_fc", "fc1"))]
    for product in inputs:
        added = product.weight[old:] if product.weight.shape[0] == old + 64 else product.weight[:, old:]
        assert added.shape.numel() == 64 * 64
        assert float(added.float().std()) > 0.05


def test_widening_to_the_same_size_changes_nothing_and_to_less_is_refused() -> None:
    model = plain_model("llama")
    before = {name: p.clone() for name, p in model.named_parameters()}
    widen(model, 96)
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    with pytest.raises(InputError, match="widen: 95: the model's FFNs have 96 neurons already"):
        widen(model, 95)


def test_a_mixture_of_experts_is_refused() -> None:
    with pytest.raises(ModelError, match="mixtral: only plain and gated FFNs can be widened"):
        widen(plain_model("mixtral"), 1024)


def test_a_widened_model_can_be_saved_and_loaded(tmp_path: object) -> None:
    from transformers import AutoModelForCausalLM

    model = widen(plain_model("gpt2"), 300)
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert torch.equal(logits(again), logits(model))


def test_a_widened_bf16_target_is_no_further_from_float32_than_the_unwidened_one() -> None:
    """In bf16 longer sums may round otherwise, so the two are close and need not be equal."""
    tokens = torch.randint(2048, (4, 48), generator=torch.Generator().manual_seed(0))

    def said(dtype: str, ffn: int) -> torch.Tensor:
        # transformers' own code: `load_model` computes in float32 where the CPU has no bfloat16 products.
        model = AutoModelForCausalLM.from_pretrained(find_source("demo", "target", None).path, dtype=dtype)
        if ffn:
            widen(model, ffn)
        assert ffn_size(model.config) == (ffn or 1024)
        with torch.inference_mode():
            return model(input_ids=tokens, use_cache=False).logits.float()  # type: ignore[no-any-return]

    exact, plain, wide = said("float32", 0), said("bfloat16", 0), said("bfloat16", 4096)
    rounding = (plain - exact).norm()
    assert (wide - exact).norm() < 1.1 * rounding
    assert (wide - plain).norm() < 1.5 * rounding  # two independent roundings would be 1.41 apart
