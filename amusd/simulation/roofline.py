"""What a forward takes on devices that are not at hand, from published figures of them and of the model.

    ms = max(weights, products) + cells + all-reduces + overhead

- weights: every weight is read once, over the memory bandwidth;
- products: two operations per weight and row, over the peak of dense products. Rows of all requests lie
  together, so rows cost nothing until the products take as long as the weights;
- cells: keys and values of every position that a request attends to are read once, whatever its rows;
- all-reduces: with several devices, two per layer, each with a latency and its bytes over the links.

Bandwidth and peak are reached to a share, which the file states with its source. What attention computes
(about 1 % at 500 positions), norms and sampling are left out.
"""

from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from amusd.simulation.curves import Text

Positive = Annotated[float, Field(gt=0)]
Reached = Annotated[float, Field(gt=0, le=1)]


class Roofline(BaseModel):
    """Milliseconds of a forward.

    Attributes:
        source: where the numbers come from, and what they were compared with.
        devices: that the model is split over (tensor parallel).
        weights_g: 10^9 weights that take part in a forward; an embedding table, only looked up, does not.
        weight_bytes: of each.
        cell_bytes: of the keys and values of one position, all layers together.
        bandwidth_tb_s: memory of one device, 10^12 bytes per second.
        bandwidth_reached: share of it.
        peak_tflops: dense products of one device.
        peak_reached: share of it.
        reduces: all-reduces per forward; none with one device.
        reduce_us: latency of each.
        reduce_row_bytes: what each carries per row.
        reduce_gb_s: bus bandwidth of an all-reduce, which counts 2 (n - 1) / n of the bytes.
        overhead_ms: of each forward.
        jitter: standard deviation of what a forward takes over what this says.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    source: Text
    devices: int = Field(1, ge=1)
    weights_g: Positive
    weight_bytes: Positive
    cell_bytes: Positive
    bandwidth_tb_s: Positive
    bandwidth_reached: Reached
    peak_tflops: Positive
    peak_reached: Reached
    reduces: int = Field(0, ge=0)
    reduce_us: float = Field(0.0, ge=0)
    reduce_row_bytes: float = Field(0.0, ge=0)
    reduce_gb_s: Positive = 1.0
    overhead_ms: float = Field(0.0, ge=0)
    jitter: float = Field(0.0, ge=0, le=1)

    @property
    def rows_step(self) -> int:
        """Rows are not padded."""
        return 1

    def ms(self, rows: int, cells: int = 0) -> float:
        """What a forward takes.

        Args:
            rows: of all requests together.
            cells: positions attended to, of all requests together.
        """
        bytes_per_ms = self.devices * self.bandwidth_tb_s * self.bandwidth_reached * 1e9
        weights_ms = self.weights_g * 1e9 * self.weight_bytes / bytes_per_ms
        cells_ms = cells * self.cell_bytes / bytes_per_ms
        return max(weights_ms, rows * self._row_ms) + cells_ms + self._reduce_ms(rows) + self.overhead_ms

    def forward_ms(self, widths: Sequence[int], lengths: Sequence[int]) -> float:
        """What a forward takes; rows of each request, and positions that each attends to."""
        return self.ms(sum(widths), sum(lengths))

    def scaled(self, factor: float) -> "Roofline":
        """The same forward, `factor` times as long."""
        return self.model_copy(
            update={
                "source": f"{self.source}; times {factor:.4g}",
                "bandwidth_tb_s": self.bandwidth_tb_s / factor,
                "peak_tflops": self.peak_tflops / factor,
                "reduce_us": self.reduce_us * factor,
                "reduce_gb_s": self.reduce_gb_s / factor,
                "overhead_ms": self.overhead_ms * factor,
            }
        )

    @property
    def _row_ms(self) -> float:
        flops_per_ms = self.devices * self.peak_tflops * self.peak_reached * 1e9
        return 2 * self.weights_g * 1e9 / flops_per_ms

    def _reduce_ms(self, rows: int) -> float:
        carried = rows * self.reduce_row_bytes * 2 * (self.devices - 1) / self.devices
        return self.reduces * (self.reduce_us / 1e3 + carried / (self.reduce_gb_s * 1e6))
