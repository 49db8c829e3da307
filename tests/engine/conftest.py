"""Whole engines on the packaged pair: real workers, real processes, one for all tests here that can share."""

import json
import os
from pathlib import Path

import pytest

import amusd.models
from amusd import LLM

PROMPTS_FILE = Path(amusd.models.__file__).parent / "demo" / "prompts.jsonl"
CORES = sorted(os.sched_getaffinity(0))


def start(mode, **options):
    """An engine on its own cores, target and draft apart; the larger draft unless another is named."""
    settings = {"target": "demo", "launcher": "local", "target_devices": f"cpu:{CORES[0]}", "mode": mode}
    if mode != "alone":
        settings |= {"draft": "demo-large", "draft_devices": f"cpu:{CORES[-1]}"}
    return LLM(**settings | options)


@pytest.fixture(scope="package")
def held_out():
    """Prompts that no model was trained on."""
    return [json.loads(line)["prompt"] for line in PROMPTS_FILE.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="package")
def alone():
    """The target alone, in bf16."""
    with start("alone") as llm:
        yield llm


@pytest.fixture(scope="package")
def asynchronous():
    """Both at once, in bf16."""
    with start("async") as llm:
        yield llm


@pytest.fixture(scope="package")
def synchronous():
    """In turns, in bf16."""
    with start("sync", num_speculative_tokens=3) as llm:
        yield llm
