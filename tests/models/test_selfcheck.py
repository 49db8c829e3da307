"""The self-check tells devices and models that are exact from those that are not."""

import dataclasses

import pytest
import torch

from amusd.errors import ModelError
from amusd.models import LoadedModel, Runner, self_check
from amusd.models.selfcheck import WIDTHS
from tests.models.families import MODELS, loaded_model


@pytest.mark.parametrize("family", MODELS)
def test_every_family_is_exact_on_this_device(family: str) -> None:
    report = self_check(Runner(loaded_model(family, torch.bfloat16), slots=4, context=64))
    assert report.exact, report.lines()
    assert report.widths == WIDTHS and report.batches == (2, 4)


def test_rows_that_are_not_a_multiple_of_four_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LoadedModel, "rows_multiple", 1)
    report = self_check(Runner(loaded_model("llama"), slots=2, context=64))
    assert not report.exact
    assert report.lines()[0] == "exact up to rounding"
    assert len(report.widths) < len(WIDTHS)


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
