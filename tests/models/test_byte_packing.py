"""A draft's products in bytes: close to the plain ones, for drafts only, and only where little changes."""

from pathlib import Path

import pytest
import torch
from torch import nn

from amusd.devices import parse_device
from amusd.models import LoadedModel, ModelSpec, load_model, loading
from amusd.models.byte_packing import ByteLinear, bears_bytes, has_byte_packing
from tests.models.families import plain_model

pytestmark = pytest.mark.skipif(not has_byte_packing(), reason="this torch has no products of bytes")


def load(**options: object) -> LoadedModel:
    spec = ModelSpec("demo-small", **{"role": "draft", **options})  # type: ignore[arg-type]
    return load_model(spec, parse_device("cpu:0"))


def products(loaded: LoadedModel) -> set[type[nn.Module]]:
    assert loaded.lean is not None
    return {type(product) for product in (*loaded.lean.products, loaded.lean.head)}


@pytest.mark.parametrize("bias", [False, True])
def test_a_rounded_product_is_close_to_the_plain_one(bias: bool) -> None:
    torch.manual_seed(1)
    plain = nn.Linear(192, 320, bias=bias).requires_grad_(False)
    plain.weight[3] *= 1000  # each output has a scale of its own
    rows = torch.randn(2, 128, 192)  # enough that chance does not decide; seven bits are 0.022 off
    expected, found = plain(rows), ByteLinear(plain)(rows)
    assert found.shape == expected.shape
    error = (found - expected).flatten(0, 1).std(0) / expected.flatten(0, 1).std(0)
    assert float(error.max()) < 0.03


def test_a_draft_whose_type_nobody_named_is_rounded() -> None:
    loaded = load()
    assert products(loaded) == {ByteLinear}
    assert loaded.packed_layers == 9
    assert loaded.dtype == torch.float32
    assert loaded.describe_dtype() == "bfloat16 weights rounded to int8"


@pytest.mark.parametrize("options", [{"role": "target"}, {"dtype": "bfloat16"}, {"dtype": "float32"}])
def test_nothing_else_is_rounded(options: dict[str, str]) -> None:
    loaded = load(**options)
    assert ByteLinear not in products(loaded)
    assert "int8" not in loaded.describe_dtype()


def test_a_draft_that_would_change_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def flat_model() -> nn.Module:
        """Its tokens are less far apart than a random model's, whom seven bits change by 0.12."""
        model = plain_model("llama").float()
        with torch.no_grad():
            model.lm_head.weight *= 0.5
        return model

    assert bears_bytes(flat_model())
    model = flat_model()
    with torch.no_grad():
        model.model.norm.weight[0] = 1e4  # one huge activation, and what is left of the others is noise
        model.lm_head.weight[:, 0] *= 1e-4
    assert not bears_bytes(model)
    monkeypatch.setattr(loading, "bears_bytes", lambda model: False)
    left, named = load(), load(dtype="bfloat16")
    assert left.dtype == named.dtype
    assert products(left) <= products(named) | {nn.Linear}


@pytest.mark.parametrize("role", ["target", "draft"])
def test_rotations_keep_their_precision(monkeypatch: pytest.MonkeyPatch, role: str) -> None:
    monkeypatch.setattr(loading, "bears_bytes", lambda model: False)
    exact = load(role=role, dtype="float32")
    assert (
        load(role=role).model.model.rotary_emb.inv_freq.tolist()
        == exact.model.model.rotary_emb.inv_freq.tolist()
    )


def test_a_model_with_few_plain_products_is_left_as_it_is(tmp_path: Path) -> None:
    model = plain_model("gpt2")
    model.bfloat16().save_pretrained(tmp_path)
    loaded = load_model(ModelSpec(str(tmp_path), role="draft"), parse_device("cpu:0"))
    assert not loaded.in_bytes


def test_a_draft_is_not_rounded_where_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading.sizes, "available_bytes", lambda devices: 5_000_000)
    monkeypatch.setattr(loading.sizes, "check_fits", lambda *sizes: None)
    assert ByteLinear not in products(load())


def test_a_torch_without_such_products_packs_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "has_byte_packing", lambda: False)
    assert ByteLinear not in products(load())
