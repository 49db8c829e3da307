"""Whole engines on the packaged pair: real workers and streams, one for all tests here that can share.

A process takes seconds to import torch and transformers. So only `asynchronous` and what is about processes
have them; other engines have their workers in this one.
"""

import contextlib
import json
import os
from pathlib import Path

import pytest

import amusd.models
from amusd import LLM
from amusd.config import EngineConfig
from amusd.deployment import plan_deployment
from amusd.prompts import PromptReader
from amusd.workers.entry import run_worker

PROMPTS_FILE = Path(amusd.models.__file__).parent / "demo" / "prompts.jsonl"
CORES = sorted(os.sched_getaffinity(0))


def settings(mode, options):
    """Of an engine on its own cores, target and draft apart; the larger draft unless another is named."""
    found = {"target": "demo", "launcher": "local", "target_devices": f"cpu:{CORES[0]}", "mode": mode}
    if mode != "alone":
        found |= {"draft": "demo-large", "draft_devices": f"cpu:{CORES[-1]}"}
    return found | options


def start(mode, **options):
    """An engine with a process for each worker."""
    return LLM(**settings(mode, options))


@contextlib.contextmanager
def start_here(mode, **options):
    """An engine with its workers on threads of this process, which talk over the same streams."""
    reader = PromptReader(EngineConfig(**settings(mode, options)))
    deployment = plan_deployment(reader.config, len(reader.tokenizer))
    with contextlib.ExitStack() as stack:
        addresses = []
        for spec in deployment.workers:
            worker = run_worker(spec.payload())
            stack.callback(worker.stop)
            addresses.append(worker.address)
        target, *drafts = addresses
        places = {"launcher": "attached", "target_devices": None, "draft_devices": None}
        addressed = {"target_address": target, "draft_address": ",".join(drafts) or None}
        yield stack.enter_context(LLM(**settings(mode, options) | places | addressed))


@pytest.fixture(scope="package")
def held_out():
    """Prompts that no model was trained on."""
    return [json.loads(line)["prompt"] for line in PROMPTS_FILE.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="package")
def repeating(held_out):
    """Code to continue, and code to copy: what drafters without a model need."""
    return [held_out[0], f"{held_out[1]}\n\n\n# The same once more:\n{held_out[1][:120]}"]


@pytest.fixture(scope="package")
def alone():
    """The target alone, in bf16."""
    with start_here("alone") as llm:
        yield llm


@pytest.fixture(scope="package")
def asynchronous():
    """Both at once, in bf16."""
    with start("async") as llm:
        yield llm


@pytest.fixture(scope="package")
def rows():
    """Both at once, in bf16, branches verified as rows of their own."""
    with start_here("async", verify="rows", max_requests=2) as llm:
        yield llm


@pytest.fixture(scope="package")
def synchronous():
    """In turns, in bf16."""
    with start_here("sync", num_speculative_tokens=3) as llm:
        yield llm


@pytest.fixture(scope="package")
def inprocess():
    """Both at once, in bf16, the target in this process, where it takes Python logits processors."""
    with start("async", launcher="inprocess") as llm:
        yield llm
