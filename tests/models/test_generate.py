"""Every family, token for token against `transformers.generate` in float32."""

import random

import pytest
import torch

from amusd.models import Runner, TargetCells
from amusd.models import runner as runner_module
from tests.models.families import MODELS, VOCABULARY, generate, loaded_model, random_tokens

PROMPT = 37
OUTPUT = 40


def winners(logits: torch.Tensor) -> list[int]:
    """The target's own token of each row, end tokens left out as in the reference."""
    logits = logits.float().clone()
    logits[:, 1] = -torch.inf
    return [int(token) for token in logits.argmax(-1)]


def grow_tree(truth: list[int], chance: random.Random) -> tuple[list[int], list[int]]:
    """A random tree that holds some of the true tokens: (tokens, parent rows), parents first."""
    tokens: list[int] = []
    parents: list[int] = []
    path = [0]  # rows of the true path; path[i] is followed by truth[i]
    for row in range(1, chance.randint(1, 9)):
        depth = len(path) - 1
        if depth < len(truth) and chance.random() < 0.5:
            parent, token = path[-1], truth[depth]
            path.append(row)
        else:
            parent = chance.randrange(row)
            taken = {tokens[i] for i in range(row - 1) if parents[i] == parent}
            if parent in path and path.index(parent) < len(truth):
                taken.add(truth[path.index(parent)])
            token = chance.choice([token for token in range(2, VOCABULARY) if token not in taken])
        parents.append(parent)
        tokens.append(token)
    return tokens, parents


def accept(tokens: list[int], parents: list[int], own: list[int]) -> tuple[list[int], list[int]]:
    """Follow the target's own tokens: (accepted rows, emitted tokens)."""
    row, rows, emitted = 0, [], [own[0]]
    while True:
        children = [i + 1 for i, parent in enumerate(parents) if parent == row and tokens[i] == own[row]]
        if not children:
            return rows, emitted
        row = children[0]
        rows.append(row)
        emitted.append(own[row])


@pytest.mark.parametrize("family", MODELS)
def test_trees_decode_what_transformers_generates(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_module, "CHUNK_ROWS", 16)
    prompt = random_tokens(PROMPT, seed=1)
    truth = prompt + generate(family, prompt, OUTPUT)
    cells = TargetCells(Runner(loaded_model(family), slots=2, context=128, spare_cells=16))
    neighbour, slot = cells.open(), cells.open()
    cells.prefill(neighbour, random_tokens(9, seed=2))
    cells.prefill(slot, prompt)
    chance = random.Random(3)
    log, moved, rejected = list(prompt), 0, 0
    while len(log) < len(truth):
        tokens, parents = grow_tree(truth[len(log) :], chance)
        logits = cells.forward([cells.plan(slot, log[-1], tokens, parents)])
        rows, emitted = accept(tokens, parents, winners(logits[0]))
        cells.keep(slot, rows)
        log += emitted
        assert log[: len(truth)] == truth[: len(log)]
        assert cells.length(slot) == len(log)
        moved += rows != list(range(1, len(rows) + 1))
        rejected += len(rows) < len(tokens)
        if chance.random() < 0.2:  # as after a restart: what was committed is decoded again
            log = log[: max(PROMPT, len(log) - 3)]
            cells.truncate(slot, len(log))
    assert moved and rejected, "the scenario must have moved cells and rolled back"


@pytest.mark.parametrize("family", MODELS)
def test_plain_decoding_is_the_same_pass_with_an_empty_tree(family: str) -> None:
    prompt = random_tokens(PROMPT, seed=4)
    truth = generate(family, prompt, 12)
    cells = TargetCells(Runner(loaded_model(family), slots=1, context=64))
    slot = cells.open()
    cells.prefill(slot, prompt)
    log = list(prompt)
    for _ in truth:
        logits = cells.forward([cells.plan(slot, log[-1], [], [])])
        log += winners(logits[0])
        cells.keep(slot, [])
    assert log[PROMPT:] == truth
