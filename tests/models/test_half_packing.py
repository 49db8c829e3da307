"""Weights in two bytes: the products lose nothing, and rows keep their bits at every number of them."""

import pytest
import torch
from torch import Tensor, nn

from amusd.models.half_packing import HalfLinear, has_half_packing
from amusd.models.packing import PackedLinear, pack

pytestmark = pytest.mark.skipif(not has_half_packing(), reason="this torch has no such products")


def linear(weight: Tensor, bias: bool = False) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias).requires_grad_(False)
    layer.weight.copy_(weight)
    return layer


def weights(seed: int = 1) -> Tensor:
    """[320, 192] bfloat16 numbers of very different sizes."""
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(320, 192, generator=generator)
    return (normal * torch.rand(320, 192, generator=generator).pow(8)).bfloat16().float()


def some_rows(count: int = 300) -> Tensor:
    return torch.randn(count, 192, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("factor", [1.0, 2.0**-20, 2.0**30])
def test_products_are_as_good_as_float32_ones(bias: bool, factor: float) -> None:
    plain, x = linear(weights() * factor, bias), some_rows()
    half = HalfLinear.take(plain)
    assert half is not None
    expected = nn.functional.linear(
        x.double(), plain.weight.double(), plain.bias if not bias else plain.bias.double()
    )
    spread = float(expected.abs().max())
    assert float((half(x).double() - expected).abs().max()) < 2e-6 * spread
    assert float((plain(x).double() - expected).abs().max()) < 2e-6 * spread, "the bound is float32's own"


def test_each_row_has_the_same_bits_at_every_number_of_rows_and_every_place() -> None:
    half, x = HalfLinear.take(linear(weights(), bias=True)), some_rows()
    assert half is not None
    whole = half(x)
    for count in (*range(1, 70), 128, 255, 256):
        for start in (0, 1, 5):
            assert torch.equal(half(x[start : start + count]), whole[start : start + count]), count
    batch = half(x[:40].view(10, 4, 192))
    assert torch.equal(batch, whole[:40].view(10, 4, 320))


def test_weights_that_would_lose_more_than_rounding_are_refused() -> None:
    assert HalfLinear.take(linear(weights() * (1 + 2**-12))) is None, "more bits than float16 has"
    assert HalfLinear.take(linear(torch.zeros(320, 192))) is None
    lost = weights()
    lost[3, 5] = float("inf")
    assert HalfLinear.take(linear(lost)) is None


def test_the_tiniest_weights_may_move_by_far_less_than_rounding() -> None:
    tiny = weights()
    tiny[0] = 1.0078125 * 2.0**-43 * tiny.abs().max()
    half = HalfLinear.take(linear(tiny))
    assert half is not None
    wrong = (half(torch.eye(192)) - tiny.T).abs().max()
    assert 0 < wrong <= 2.0**-40 * tiny.abs().max()


def test_a_kernel_whose_rows_depend_on_their_number_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    product = HalfLinear._product
    monkeypatch.setattr(HalfLinear, "_product", lambda self, rows: product(self, rows) + len(rows))
    assert HalfLinear.take(linear(weights())) is None


@pytest.mark.parametrize(("differ", "multiple"), [((1, 2), 3), ((1, 2, 3, 5), 12)])
def test_rows_are_padded_to_a_number_that_was_found_to_agree(
    monkeypatch: pytest.MonkeyPatch, differ: tuple[int, ...], multiple: int
) -> None:
    def of_groups(self: HalfLinear, rows: Tensor) -> Tensor:
        return torch.ones(len(rows), 320) * (len(rows) % 6 in differ)

    monkeypatch.setattr(HalfLinear, "_product", of_groups)
    half = HalfLinear.take(linear(weights()))
    assert half is not None
    assert half.counts.multiple == multiple
    for count in range(300):
        padded = half.counts.padded(count)
        assert count <= padded < count + multiple + 3
        assert padded % 6 not in differ
        assert not half(some_rows(count)).any()


def test_weights_that_were_bfloat16_are_halved_and_others_packed_as_they_are() -> None:
    model = nn.Sequential(linear(weights()), linear(torch.randn(320, 192)))
    assert pack(model) == 2
    assert [type(layer) for layer in model] == [HalfLinear, PackedLinear]
