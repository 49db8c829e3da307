"""The self-check tells devices and models that are exact from those that are not."""

import dataclasses
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from amusd.errors import ModelError
from amusd.models import LoadedModel, Runner, self_check
from amusd.models.loading import streamline
from amusd.models.runner import Rows
from tests.models.families import MODELS, loaded_model


@pytest.mark.parametrize("family", MODELS)
def test_every_family_is_exact_on_this_device(family: str) -> None:
    report = self_check(Runner(loaded_model(family, torch.bfloat16), slots=4, context=64))
    assert report.exact, report.lines()
    assert report.widths == (1, 4, 8, 16) and report.batches == (2, 4)


def test_rows_that_are_not_a_multiple_of_four_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LoadedModel, "rows_multiple", 1)
    report = self_check(Runner(loaded_model("llama"), slots=2, context=64))
    assert not report.exact
    assert report.lines()[0] == "exact up to rounding"
    assert len(report.widths) < len(report.widths_tried)


def test_what_is_tried_is_what_the_engine_uses() -> None:
    loaded = loaded_model("llama")

    def tried(slots: int, rows_max: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        report = self_check(Runner(loaded, slots=slots, context=64), rows_max)
        assert report.exact, report.lines()
        assert f"of {rows_max}" in report.lines()[2] or f", {rows_max}" in report.lines()[2]
        return report.widths_tried, report.batches_tried

    assert tried(slots=1, rows_max=1) == ((1,), ())
    assert tried(slots=3, rows_max=6) == ((1, 4, 6), (2, 3))
    assert tried(slots=64, rows_max=33) == ((1, 4, 8, 16, 32, 33), (2, 4, 8, 16, 32))


def test_a_width_that_differs_is_found_out_at_the_number_of_rows_in_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    forward = Runner.forward

    def wrong(self: Runner, groups: Sequence[Rows]) -> list[Tensor]:
        logits = forward(self, groups)
        many = max(len(group.tokens) for group in groups) > 16 or len(groups) > 8
        return [part + 1e-6 for part in logits] if many else logits

    monkeypatch.setattr(Runner, "forward", wrong)
    loaded = loaded_model("llama")
    wide = self_check(Runner(loaded, slots=2, context=64), 20)
    assert (wide.exact, wide.widths) == (False, (1, 4, 8, 16))
    assert self_check(Runner(loaded, slots=8, context=64), 8).exact
    crowded = self_check(Runner(loaded, slots=12, context=64), 8)
    assert (crowded.exact, crowded.batches) == (False, (2, 4, 8))


def test_a_short_block_is_found_out() -> None:
    report = self_check(Runner(loaded_model("llama"), slots=2, context=64, block=16))
    assert not report.block_agrees and not report.exact
    assert 16 not in report.blocks and 512 in report.blocks
    assert "in blocks of 16: DIFFER" in report.lines()[1]


def test_a_model_that_cannot_be_exact_says_why() -> None:
    loaded = dataclasses.replace(loaded_model("mixtral"), exact=False, inexact_because="its experts differ")
    report = self_check(Runner(loaded, slots=1, context=64))
    assert not report.exact
    assert report.lines()[0] == "exact up to rounding (its experts differ)"


def test_a_model_that_does_not_follow_its_masks_is_refused() -> None:
    loaded = dataclasses.replace(loaded_model("mistral"), windows={"full_attention": 3})
    with pytest.raises(ModelError, match="mistral does not follow 4-D attention masks"):
        self_check(Runner(loaded, slots=1, context=64))


def test_a_context_that_is_shorter_than_what_is_checked_is_checked_all_the_same() -> None:
    loaded = loaded_model("llama")
    streamline(loaded, context=32)
    assert loaded.lean is not None
    assert self_check(Runner(loaded, slots=1, context=32)).exact
