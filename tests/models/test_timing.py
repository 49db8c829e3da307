"""What is timed when a model is ready."""

import pytest

from amusd.models import Runner
from amusd.models.timing import time_passes
from tests.models.families import loaded_model


@pytest.mark.parametrize(
    ("context", "rows_max", "widths"),
    [(200, 8, [4, 8]), (200, 64, [*range(4, 33, 4), 64]), (40, 64, [4, 8, 12, 16, 20]), (6, 64, [4])],
)
def test_widths_are_timed_as_far_as_asked_and_as_half_of_the_context_has_positions(context, rows_max, widths):
    loaded = loaded_model("gpt2")  # which no other test makes lean
    assert loaded.rows_multiple == 4
    seconds = time_passes(Runner(loaded, slots=2, context=context, block=64), rows_max)
    assert list(seconds) == widths
    assert min(seconds.values()) > 0
