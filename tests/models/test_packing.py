"""Packed products are the plain ones, bit for bit, or stay plain."""

import pytest
import torch
from torch import nn

from amusd.models import Runner, TargetCells, self_check, wrap_model
from amusd.models import packing as packing_module
from amusd.models.packing import PackedLinear, can_pack, pack
from tests.models.families import FAMILIES, loaded_model, plain_model, random_tokens

needs_packing = pytest.mark.skipif(not can_pack(), reason="this CPU or torch has no packed bfloat16 products")


def linear(bias: bool = False) -> nn.Linear:
    torch.manual_seed(1)
    return nn.Linear(192, 320, bias=bias, dtype=torch.bfloat16).requires_grad_(False)


@needs_packing
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("rows", [2, 4, 7, 8, 16, 64, 256])
def test_a_packed_layer_gives_the_same_bits(rows: int, bias: bool) -> None:
    plain = linear(bias)
    x = torch.randn(1, rows, 192, generator=torch.Generator().manual_seed(2)).bfloat16()
    assert torch.equal(PackedLinear(plain)(x), plain(x))


@needs_packing
@pytest.mark.parametrize("family", FAMILIES)
def test_a_packed_model_gives_the_same_bits_and_is_exact(family: str) -> None:
    prompt, drafted = random_tokens(30, seed=1), random_tokens(7, seed=2)
    logits = []
    packed = wrap_model(plain_model(family).bfloat16(), family)
    assert pack(packed.model) > 0
    for loaded in (loaded_model(family, torch.bfloat16), packed):
        cells = TargetCells(Runner(loaded, slots=1, context=64))
        cells.prefill(cells.open(), prompt)
        logits.append(cells.forward([cells.plan(0, prompt[-1], drafted, range(7))]))
    assert torch.equal(*logits)
    assert self_check(Runner(packed, slots=2, context=64)).exact


@needs_packing
def test_unpacked_weights_are_dropped() -> None:
    model = nn.Sequential(linear(), linear(True))
    assert pack(model) == 2
    assert [tuple(p.shape) for p in model.parameters()] == [(320,)], "only the bias is left"


def test_what_is_not_bfloat16_stays_plain() -> None:
    model = nn.Sequential(nn.Linear(192, 320))
    assert pack(model) == 0
    assert type(model[0]) is nn.Linear


def test_where_packing_is_not_available_everything_stays_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing_module, "can_pack", lambda: False)
    model = nn.Sequential(linear())
    assert pack(model) == 0
    assert type(model[0]) is nn.Linear


@needs_packing
def test_a_shape_whose_bits_differ_stays_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PackedLinear, "forward", lambda self, rows: linear()(rows) * 2)
    model = nn.Sequential(linear())
    assert pack(model) == 0
    assert type(model[0]) is nn.Linear
