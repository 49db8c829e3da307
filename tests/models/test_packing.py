"""Packed products are the plain ones bit for bit (bfloat16) or agree at every row count (float32)."""

import pytest
import torch
from torch import nn

from amusd.models import Runner, TargetCells, self_check, wrap_model
from amusd.models import packing as packing_module
from amusd.models.packing import PackedLinear, has_bfloat16_products, has_packing, pack
from tests.models.families import FAMILIES, loaded_model, plain_model, random_tokens

needs_packing = pytest.mark.skipif(not has_packing(), reason="this torch has no packed products")
needs_bfloat16 = pytest.mark.skipif(
    not has_bfloat16_products(), reason="this CPU or torch has no packed bfloat16 products"
)


def linear(bias: bool = False, dtype: torch.dtype = torch.bfloat16) -> nn.Linear:
    torch.manual_seed(1)
    return nn.Linear(192, 320, bias=bias, dtype=dtype).requires_grad_(False)


def some_rows(dtype: torch.dtype) -> torch.Tensor:
    return torch.randn(1, 256, 192, generator=torch.Generator().manual_seed(2)).to(dtype)


@needs_bfloat16
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("rows", [2, 4, 7, 8, 16, 64, 256])
def test_a_packed_bfloat16_layer_gives_the_same_bits(rows: int, bias: bool) -> None:
    plain = linear(bias)
    x = some_rows(torch.bfloat16)[:, :rows]
    assert torch.equal(PackedLinear(plain)(x), plain(x))


@needs_packing
@pytest.mark.parametrize("bias", [False, True])
def test_a_packed_float32_layer_gives_each_row_the_same_bits_at_every_row_count(bias: bool) -> None:
    plain, x = linear(bias, torch.float32), some_rows(torch.float32)
    packed = PackedLinear(plain)
    whole = packed(x)
    torch.testing.assert_close(whole, plain(x))
    for rows in (1, 2, 3, 5, 8, 64):
        assert torch.equal(packed(x[:, 7 : 7 + rows]), whole[:, 7 : 7 + rows]), f"{rows} rows"


@needs_bfloat16
@pytest.mark.parametrize("family", FAMILIES)
def test_a_packed_model_gives_the_same_bits_and_is_exact(family: str) -> None:
    prompt, drafted = random_tokens(30, seed=1), random_tokens(7, seed=2)
    logits = []
    packed = wrap_model(plain_model(family).bfloat16(), family)
    assert pack(packed.model) > 0
    for loaded in (loaded_model(family, torch.bfloat16), packed):
        cells = TargetCells(Runner(loaded, slots=1, context=64))
        cells.prefill(cells.open(), prompt)
        logits.append(cells.forward([cells.plan(0, prompt[-1], drafted, range(7))])[0])
    assert torch.equal(*logits)
    assert self_check(Runner(packed, slots=2, context=64)).exact


@needs_packing
def test_unpacked_weights_are_dropped() -> None:
    model = nn.Sequential(linear(dtype=torch.float32), linear(True, torch.float32))
    assert pack(model) == 2
    assert [tuple(p.shape) for p in model.parameters()] == [(320,)], "only the bias is left"


@needs_packing
def test_small_weights_stay_plain_where_asked() -> None:
    wide = nn.Linear(1024, packing_module.PACKED_SMALL // 1024, bias=False).requires_grad_(False)
    model = nn.Sequential(linear(dtype=torch.float32), wide)
    assert pack(model, small=False) == 1
    assert [type(layer) for layer in model] == [nn.Linear, PackedLinear]


@needs_bfloat16
def test_small_bfloat16_weights_are_always_packed() -> None:
    model = nn.Sequential(linear())
    assert pack(model, small=False) == 1
    assert type(model[0]) is PackedLinear


def test_what_no_kernel_packs_stays_plain() -> None:
    model = nn.Sequential(linear(dtype=torch.float64))
    assert pack(model) == 0
    assert type(model[0]) is nn.Linear


def test_where_packing_is_not_available_everything_stays_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing_module, "has_packing", lambda: False)
    model = nn.Sequential(linear(dtype=torch.float32))
    assert pack(model) == 0
    assert type(model[0]) is nn.Linear


@needs_packing
def test_a_shape_whose_rows_depend_on_their_number_stays_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        PackedLinear, "forward", lambda self, x: linear(dtype=torch.float32)(x) * (1 + x.shape[-2])
    )
    model = nn.Sequential(linear(dtype=torch.float32))
    assert pack(model) == 0
    assert type(model[0]) is nn.Linear


@needs_bfloat16
def test_a_bfloat16_shape_whose_bits_differ_stays_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PackedLinear, "forward", lambda self, rows: linear()(rows) * 2)
    model = nn.Sequential(linear())
    assert pack(model) == 0
    assert type(model[0]) is nn.Linear
