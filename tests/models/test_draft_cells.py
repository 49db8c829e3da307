"""The draft's cells against transformers' own forward, through random trees, commits and resets."""

import random
from dataclasses import dataclass, field

import pytest
import torch

from amusd.models import DraftCells, NodeRow, Runner
from tests.models.families import VOCABULARY, loaded_model, plain_model, random_tokens

SCRATCH = 12
FAMILIES = ["llama", "mistral-window", "qwen2-window", "gemma2", "gpt2", "opt"]
FAMILIES += ["llama-lean", "mistral-window-lean"]


@dataclass
class Request:
    """A log, and a tree as (parent, token) by node id."""

    log: list[int]
    slot: int
    nodes: dict[int, tuple[int | None, int]] = field(default_factory=dict)

    def path(self, node: int | None) -> list[int]:
        """Ids from the root's child to the node."""
        ids: list[int] = []
        while node is not None:
            ids.insert(0, node)
            node = self.nodes[node][0]
        return ids

    def row(self, node: int | None) -> NodeRow:
        if node is None:
            return NodeRow(None, self.log[-1], len(self.log) - 1)
        *ancestors, _ = self.path(node)
        return NodeRow(node, self.nodes[node][1], len(self.log) + len(ancestors), ancestors)

    def text(self, node: int | None) -> list[int]:
        return [*self.log, *(self.nodes[i][1] for i in self.path(node))]


class World:
    """Requests on one DraftCells, every logit row checked."""

    def __init__(self, family: str, seed: int) -> None:
        self.plain = plain_model(family)
        runner = Runner(loaded_model(family), slots=3, context=200, block=64, spare_cells=SCRATCH)
        self.cells = DraftCells(runner, SCRATCH)
        self.chance = random.Random(seed)
        self.requests: list[Request] = []
        self.next_id = 0

    def open(self) -> None:
        log = random_tokens(self.chance.randint(1, 50), seed=self.chance.randrange(10**6))
        slot = self.cells.open(log)
        self.requests.append(Request(log, slot))
        read = 0
        while (part := self.chance.randint(0, 12)) > 0:  # the rest is read by the first forward
            read += part
            assert self.cells.catch_up(slot, rows_max=part) == max(0, len(log) - 1 - read)

    def close(self) -> None:
        request = self.requests.pop(self.chance.randrange(len(self.requests)))
        moved = self.cells.close(request.slot)
        for other in self.requests:
            if other.slot == moved:
                other.slot = request.slot

    def expand(self) -> None:
        """Expand the root or nodes whose parents have cells, of several requests, in one forward."""
        items, expected = [], []
        for request in self.chance.sample(self.requests, self.chance.randint(1, len(self.requests))):
            has = {n for n in request.nodes if self.cells.has_cell(request.slot, n)}
            ready: list[int | None] = [
                n
                for n, (parent, _) in request.nodes.items()
                if n not in has and (parent is None or parent in has)
            ]
            chosen = self.chance.sample(ready, min(len(ready), self.chance.randint(0, 3)))
            if not chosen or self.chance.random() < 0.3:
                chosen.insert(self.chance.randint(0, len(chosen)), None)
            if len(chosen) > self.cells.room(request.slot):
                continue
            items.append((request.slot, [request.row(node) for node in chosen]))
            expected += [request.text(node) for node in chosen]
            for node in chosen:
                self.add_children(request, node)
        if items:
            logits = torch.cat(self.cells.forward(items))
            assert logits.shape == (len(expected), VOCABULARY)
            for row, text in zip(logits, expected, strict=True):
                with torch.inference_mode():
                    truth = self.plain(input_ids=torch.tensor([text])).logits[0, -1]
                torch.testing.assert_close(row, truth, rtol=1e-3, atol=1e-4 * float(truth.abs().max()))

    def add_children(self, request: Request, parent: int | None) -> None:
        for token in self.chance.sample(range(2, VOCABULARY), 2):
            request.nodes[self.next_id] = (parent, token)
            self.next_id += 1

    def commit(self) -> None:
        """Commit part of a random path and a token of the target's own."""
        request = self.chance.choice(self.requests)
        leaf = self.chance.choice([None, *request.nodes])
        path = request.path(leaf)
        path = path[: self.chance.randint(0, len(path))]
        tokens = [request.nodes[node][1] for node in path] + [1]  # token 1 was never drafted
        below = set(request.nodes) - set(path)
        self.cells.commit(request.slot, tokens, path, sorted(below))
        request.log += tokens
        request.nodes.clear()
        assert self.cells.room(request.slot) == SCRATCH

    def commit_reroot(self) -> None:
        """Commit a path that the tree reaches beyond: what hangs below keeps its cells."""
        request = self.chance.choice(self.requests)
        if not request.nodes:
            return
        path = request.path(self.chance.choice(list(request.nodes)))
        kept = {n: p for n, p in request.nodes.items() if path[-1] in request.path(n)[:-1]}
        dropped = set(request.nodes) - set(kept) - set(path)
        self.cells.commit(request.slot, [request.nodes[n][1] for n in path], path, sorted(dropped))
        request.log += [request.nodes[n][1] for n in path]
        request.nodes = {n: (None if p == path[-1] else p, token) for n, (p, token) in kept.items()}
        with_cells = sum(self.cells.has_cell(request.slot, node) for node in request.nodes)
        assert self.cells.room(request.slot) == SCRATCH - with_cells

    def reset(self) -> None:
        request = self.chance.choice(self.requests)
        kept = request.log[: self.chance.randint(1, len(request.log))]
        request.log = kept + random_tokens(self.chance.randint(0, 6), seed=self.chance.randrange(10**6))
        request.nodes.clear()
        self.cells.reset(request.slot, request.log)

    def step(self) -> None:
        if len(self.requests) < 3 and (not self.requests or self.chance.random() < 0.3):
            return self.open()
        choice = self.chance.random()
        if choice < 0.55:
            return self.expand()
        if choice < 0.7:
            return self.commit()
        if choice < 0.87:
            return self.commit_reroot()
        return self.reset() if choice < 0.95 else self.close()


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_are_those_of_a_fresh_forward_through_commits_rollbacks_and_resets(family: str) -> None:
    world = World(family, seed=len(family))
    for _ in range(150):
        world.step()


def test_each_node_is_forwarded_once_and_a_confirmed_chain_costs_one_row_a_step() -> None:
    cells = DraftCells(Runner(loaded_model("llama"), slots=1, context=64, spare_cells=SCRATCH), SCRATCH)
    slot = cells.open(random_tokens(20, seed=1))
    cells.forward([(slot, [NodeRow(None, 0, 19)])])
    cells.forward([(slot, [NodeRow(0, 5, 20), NodeRow(1, 6, 20)])])
    cells.forward([(slot, [NodeRow(2, 7, 21, [0])])])
    cells.commit(slot, [5, 7], [0, 2], [1])
    widths = []
    forward = cells.runner.forward
    cells.runner.forward = lambda plans: widths.append([len(plan.tokens) for plan in plans]) or forward(plans)  # type: ignore[method-assign]
    cells.forward([(slot, [NodeRow(3, 8, 22)])])
    cells.commit(slot, [8, 9], [3])
    cells.forward([(slot, [NodeRow(None, 9, 23)])])
    assert widths == [[1], [1]], "committed tokens whose cells moved into place are not forwarded again"


def test_a_node_before_its_parent_and_a_full_scratch_are_refused() -> None:
    cells = DraftCells(Runner(loaded_model("llama"), slots=1, context=64, spare_cells=2), 2)
    slot = cells.open(random_tokens(5, seed=1))
    with pytest.raises(ValueError, match="ancestor 7 was never forwarded"):
        cells.forward([(slot, [NodeRow(8, 5, 6, [7])])])
    with pytest.raises(ValueError, match="all 2 scratch cells"):
        cells.forward([(slot, [NodeRow(node, 5 + node, 5) for node in range(3)])])
