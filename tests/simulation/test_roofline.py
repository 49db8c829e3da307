"""What a forward takes by the figures of a device: by hand, and as the shipped files say it."""

import pytest

from amusd.simulation import load_scenario
from amusd.simulation.roofline import Roofline

ROOFLINE = Roofline(
    source="made up",
    devices=2,
    weights_g=10.0,
    weight_bytes=2.0,
    cell_bytes=1e6,
    bandwidth_tb_s=2.0,
    bandwidth_reached=0.5,
    peak_tflops=100.0,
    peak_reached=0.5,
    reduces=10,
    reduce_us=100.0,
    reduce_row_bytes=1e6,
    reduce_gb_s=100.0,
    overhead_ms=3.0,
)
WEIGHTS_MS = 20e9 / (2 * 2e12 * 0.5) * 1e3  # 10
ROW_MS = 2 * 10e9 / (2 * 100e12 * 0.5) * 1e3  # 0.2
REDUCES_MS, REDUCES_ROW_MS = 10 * 0.1, 10 * 1e6 * (2 * 1 / 2) / 100e9 * 1e3  # 1, 0.1
CELL_MS = 1e6 / (2 * 2e12 * 0.5) * 1e3


def test_rows_are_free_until_products_take_as_long_as_the_weights():
    for rows in (1, 20, 50):
        assert ROOFLINE.ms(rows) == pytest.approx(WEIGHTS_MS + REDUCES_MS + rows * REDUCES_ROW_MS + 3.0)
    assert ROOFLINE.ms(80) == pytest.approx(80 * ROW_MS + REDUCES_MS + 80 * REDUCES_ROW_MS + 3.0)


def test_rows_and_cells_of_all_requests_add_up():
    assert ROOFLINE.forward_ms([1, 5, 2], [100, 200, 300]) == ROOFLINE.ms(8, 600)
    assert ROOFLINE.ms(8, 600) - ROOFLINE.ms(8) == pytest.approx(600 * CELL_MS)


def test_a_scaled_one_takes_so_many_times_as_long():
    for rows, cells in ((1, 0), (30, 500), (200, 10)):
        assert ROOFLINE.scaled(3.0).ms(rows, cells) == pytest.approx(3 * ROOFLINE.ms(rows, cells))


def test_the_shipped_files_come_to_what_their_comments_say():
    large, small = load_scenario("load-70b-8b"), load_scenario("load-70b-1b")
    target = large.target.curve
    assert target == small.target.curve
    shapes = {1: 13.2, 5: 13.3, 25: 13.7, 50: 14.1, 100: 15.1, 150: 16.1, 200: 17.0}
    for requests, ms in shapes.items():
        assert target.ms(requests, 300 * requests) == pytest.approx(ms, abs=0.051)
    assert large.drafters.curve.ms(1) == pytest.approx(5.21, abs=0.005)
    assert small.drafters.curve.ms(1) == pytest.approx(1.48, abs=0.005)
