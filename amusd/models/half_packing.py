"""Products of float32 rows with weights that are kept in two bytes each, on a CPU, without loss.

A CPU without bfloat16 products computes with bfloat16 weights in float32, and reading them bounds a pass.
FBGEMM keeps float16 weights and widens them in registers: half the bytes. Times a power of two, bfloat16
weights are float16 numbers but for the tiniest, which move by less than 2^-40 of the largest weight: 2^-16 of
what rounding a float32 product to 24 bits does. A matrix that would lose more is not taken.

The kernel takes rows in groups, and groups of one and of two sum in another order. So rows are padded to a
number whose groups are larger; which numbers these are is measured once for each shape.

Measured, one Zen 3 core, sixteen layers of 384 x 12288 (0.15 GB in two bytes), milliseconds at 1, 4, 6, 8 and
16 rows: 9.8, 11.4, 12.9, 22.7, 31.4; packed float32 (`packing`) 18.7, 25.5, 29.4, 33.4, 49.5.
"""

from typing import Final, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

_OPERATORS: Final = ("linear_prepack_fp16", "linear_dynamic_fp16")
_FLOAT16_MAX: Final = 65504.0
_LOSS_MAX: Final = 2.0**-40  # of the largest weight
_EACH_TRIED: Final = 24  # of so many rows every number is tried; beyond, multiples
_MANY_TRIED: Final = {  # multiples of a number, the smallest that agrees is taken
    3: (27, 30, 33, 36, 39, 48, 51, 102, 105, 258, 264),
    12: (36, 48, 264),
}


class Counts(NamedTuple):
    """To which number rows are padded.

    Attributes:
        few: by their number.
        multiple: beyond, of this.
    """

    few: tuple[int, ...]
    multiple: int

    def padded(self, count: int) -> int:
        """The number for so many rows."""
        if count < len(self.few):
            return self.few[count]
        return -(-count // self.multiple) * self.multiple


def has_half_packing() -> bool:
    """Whether this build of torch has these products."""
    return "fbgemm" in torch.backends.quantized.supported_engines and all(
        hasattr(torch.ops.quantized, name) for name in _OPERATORS
    )


class HalfLinear(nn.Module):
    """A linear layer that keeps its weights in two bytes each; made by `take`.

    Args:
        linear: a float32 layer on a CPU; it is read, not kept.
        scale: a power of two; times it the weights are float16 numbers.
    """

    def __init__(self, linear: nn.Linear, scale: float) -> None:
        super().__init__()
        self.in_features = linear.in_features
        self.out_features = linear.out_features
        self._shrink = 1.0 / scale
        bias = None if linear.bias is None else linear.bias.detach()
        self._packed = torch.ops.quantized.linear_prepack_fp16(linear.weight.detach() * scale, bias)
        self._counts: Counts | None = None  # None: rows depend on their number

    @classmethod
    def take(cls, linear: nn.Linear, counts: Counts | None = None) -> Self | None:
        """The same layer with its weights halved, or None where that would change them or rows' bits.

        Args:
            counts: `counts` of a layer of the same shape; None measures them.
        """
        scale = _scale(linear.weight)
        if scale is None:
            return None
        layer = cls(linear, scale)
        layer._counts = counts or layer._measure_counts()
        return layer if layer._counts else None

    @property
    def counts(self) -> Counts:
        """To which number rows are padded."""
        assert self._counts is not None, "else it was not taken"
        return self._counts

    def forward(self, rows: Tensor) -> Tensor:
        """[..., in_features] to [..., out_features]."""
        flat = rows.reshape(-1, self.in_features) * self._shrink
        count = flat.shape[0]
        padded = self.counts.padded(count)
        output = self._product(flat if padded == count else functional.pad(flat, (0, 0, 0, padded - count)))
        return output[:count].view(*rows.shape[:-1], self.out_features)

    def _product(self, rows: Tensor) -> Tensor:
        output: Tensor = torch.ops.quantized.linear_dynamic_fp16(rows, self._packed)
        return output

    def _measure_counts(self) -> Counts | None:
        """None where rows depend on their number whatever it is."""
        generator = torch.Generator().manual_seed(0)
        rows = torch.randn(max(map(max, _MANY_TRIED.values())), self.in_features, generator=generator)
        whole = self._product(rows)
        multiples = (
            multiple
            for multiple, tried in _MANY_TRIED.items()
            if all(self._agrees(rows, whole, count) for count in (_EACH_TRIED, *tried))
        )
        if (multiple := next(multiples, None)) is None:
            return None
        few = [_EACH_TRIED]
        for count in range(_EACH_TRIED - 1, -1, -1):
            few.append(count if count and self._agrees(rows, whole, count) else few[-1])
        return Counts(tuple(reversed(few)), multiple)

    def _agrees(self, rows: Tensor, whole: Tensor, count: int) -> bool:
        last = rows.shape[0] - count  # rows that were in other places of their groups
        return torch.equal(self._product(rows[:count]), whole[:count]) and torch.equal(
            self._product(rows[last:]), whole[last:]
        )


def _scale(weight: Tensor) -> float | None:
    """The power of two that makes these weights float16 numbers, up to the loss that is allowed; or None."""
    largest = float(weight.abs().max())
    if not 0.0 < largest < float("inf"):
        return None
    scale = 2.0 ** int(torch.tensor(_FLOAT16_MAX / largest).log2().floor())
    scaled = weight.detach() * scale
    loss = float((scaled.to(torch.float16).to(torch.float32) - scaled).abs().max())
    return scale if loss <= largest * scale * _LOSS_MAX else None
