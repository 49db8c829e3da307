"""What ships with the package is complete, small, and a pair."""

import json

import pytest
from safetensors import safe_open

from amusd.models import check_vocabularies, load_tokenizer
from amusd.models.names import DEMO_FOLDER

BYTES_MAX = 50_000_000
PROMPTS_MIN = 100


@pytest.mark.parametrize("name", ["target", "draft-small", "draft-large"])
def test_the_weights_are_bf16(name):
    with safe_open(DEMO_FOLDER / name / "model.safetensors", "pt") as file:
        assert {file.get_slice(key).get_dtype() for key in file.keys()} == {"BF16"}  # noqa: SIM118


def test_all_of_it_is_at_most_50_megabytes():
    assert sum(path.stat().st_size for path in DEMO_FOLDER.rglob("*")) <= BYTES_MAX


def test_there_are_held_out_prompts_enough_and_each_fits():
    lines = (DEMO_FOLDER / "prompts.jsonl").read_text(encoding="utf-8").splitlines()
    tokenizer = load_tokenizer("demo")
    lengths = [len(tokenizer.encode(json.loads(line)["prompt"])) for line in lines]
    assert len(lengths) >= PROMPTS_MIN
    assert min(lengths) > 100
    assert max(lengths) < 300


@pytest.mark.parametrize("draft", ["demo-small", "demo-large"])
def test_the_drafts_speak_the_targets_tokens(draft):
    target, tokenizer = load_tokenizer("demo"), load_tokenizer(draft, role="draft")
    check_vocabularies(target, len(target), tokenizer, len(tokenizer))


def test_the_card_says_what_was_measured():
    card = (DEMO_FOLDER / "README.md").read_text(encoding="utf-8")
    for word in ("PSF-2.0", "held-out loss", "temperature 0", "temperature 1", "distillation"):
        assert word in card
