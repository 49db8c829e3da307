"""Packing: linear layers on a CPU with weights laid out once for oneDNN.

A plain product lays its weights out anew in every pass; a packed one streams them nearly as fast as memory
allows. Each shape is checked before it is packed:

- bfloat16 (CPUs with bfloat16 products only): the bits are those of the plain product, at 1 to 256 rows.
- float32: the bits of a row are the same at every number of rows, 1 included, which plain ones' are not.
  Weights that were bfloat16 are kept in two bytes each (`half_packing`).

Measured, one core, milliseconds at 1, 4, 8 and 16 rows: AMD Zen 5, bfloat16, a 15.7 M model widened to 0.24
GB, plain 22.9, 22.0, 24.8, 29.7, packed 13.2, 12.7, 15.8, 20.6. AMD Zen 3, float32, sixteen layers of 384 x
12288 (0.3 GB), plain 26.6, 57.7, 68.3, 85.2, packed 18.9, 26.0, 33.4, 49.6.
"""

import torch
from torch import Tensor, nn

from amusd.models.half_packing import Counts, HalfLinear, has_half_packing

_OPERATORS = ("_reorder_linear_weight", "_linear_pointwise", "_is_mkldnn_bf16_supported")
PACKED_SMALL = 384 * 1024
HALVED_SMALL = 128 * 1024
"""Weights below which a plain float32 product is as fast: measured on Zen 3, at one to four rows."""

_PROBE_ROWS = (1, 2, 3, 4, 8, 16, 256)
_SHIFT = 5
_PROBE_ROWS_PLAIN = (4, 8, 16, 256)  # a plain product of fewer rows is another kernel's


_Shape = tuple[int, int, bool, torch.dtype]


class PackedLinear(nn.Module):
    """A linear layer that keeps its weights packed only.

    Args:
        linear: a bfloat16 or float32 layer on a CPU; it is read, not kept.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features = linear.in_features
        self.out_features = linear.out_features
        self.dtype = linear.weight.dtype
        self.bias = linear.bias
        # Not a parameter: nothing but the product itself can read the packed layout.
        self._packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), None)

    def forward(self, rows: Tensor) -> Tensor:
        """[..., in_features] to [..., out_features]."""
        output: Tensor = torch.ops.mkldnn._linear_pointwise.default(
            rows, self._packed, self.bias, "none", [], ""
        )
        return output


def has_packing() -> bool:
    """Whether this build of torch has packed products."""
    return (
        torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and all(hasattr(torch.ops.mkldnn, name) for name in _OPERATORS)
    )


def has_bfloat16_products() -> bool:
    """Whether this CPU multiplies bfloat16 matrices; others do it several times slower than float32."""
    return has_packing() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


@torch.inference_mode()
def pack(model: nn.Module, *, small: bool = True) -> int:
    """Replace the linear layers of a model on a CPU by packed ones, in place.

    A shape that fails its check (see above) stays plain, and so does everything where packing is not
    available. The unpacked weights are dropped, layer by layer: the model can no longer be saved or trained.

    Args:
        model: its direct or indirect children are replaced.
        small: also float32 ones whose plain product is as fast, for it is quicker to call.

    Returns:
        How many layers are packed.
    """
    if not has_packing():
        return 0
    packer = _Packer(small)
    packed = 0
    for parent in list(model.modules()):
        for name, layer in parent.named_children():
            if type(layer) is nn.Linear and _is_packable(layer):
                replacement = packer.pack(layer)
                if replacement is not None:
                    setattr(parent, name, replacement)
                    packed += 1
    return packed


class _Packer:
    """Packs layer after layer; what the check of a shape found holds for all layers of that shape."""

    def __init__(self, small: bool) -> None:
        self._small = small
        self._agrees: dict[_Shape, bool] = {}
        self._counts: dict[_Shape, Counts] = {}

    def pack(self, layer: nn.Linear) -> nn.Module | None:
        """The packed layer, or None where it is small or its bits would depend on the number of rows."""
        weight = layer.weight
        shape = (layer.in_features, layer.out_features, layer.bias is not None, weight.dtype)
        if weight.dtype == torch.float32 and has_half_packing() and self._takes(weight, HALVED_SMALL):
            half = HalfLinear.take(layer, self._counts.get(shape))
            if half is not None:
                self._counts[shape] = half.counts
                return half
        if not self._takes(weight, PACKED_SMALL):
            return None
        packed = PackedLinear(layer)
        if shape not in self._agrees:
            self._agrees[shape] = _agrees(layer, packed)
        return packed if self._agrees[shape] else None

    def _takes(self, weight: Tensor, small: int) -> bool:
        return self._small or weight.dtype == torch.bfloat16 or weight.numel() >= small


def takes_any_rows(product: nn.Module) -> bool:
    """Whether each row of a product has the same bits at every number of rows, 1 included."""
    return isinstance(product, HalfLinear) or (
        isinstance(product, PackedLinear) and product.dtype == torch.float32
    )


def _is_packable(layer: nn.Linear) -> bool:
    weight = layer.weight
    if weight.device.type != "cpu":
        return False
    return weight.dtype == torch.float32 or (weight.dtype == torch.bfloat16 and has_bfloat16_products())


def _agrees(plain: nn.Linear, packed: PackedLinear) -> bool:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(max(_PROBE_ROWS), plain.in_features, generator=generator).to(packed.dtype)
    whole = packed(rows)
    elsewhere = slice(_SHIFT, _SHIFT + 8)  # a request's rows begin anywhere among those of others
    if not torch.equal(packed(rows[elsewhere]), whole[elsewhere]):
        return False
    if packed.dtype == torch.bfloat16:
        return all(torch.equal(plain(rows[:count]), packed(rows[:count])) for count in _PROBE_ROWS_PLAIN)
    return all(torch.equal(packed(rows[:count]), whole[:count]) for count in _PROBE_ROWS)
