"""A small model as the drafter: it races with the target's own noise.

Both sides draw the same E for a position and a token, so the draft's own race winner is its best guess
of the target's, and its runners-up are the likeliest corrections (arXiv 2504.15475). With the rule `topk`
it takes its most likely tokens instead.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from amusd.devices import DeviceSpec
from amusd.drafters.base import Candidates, Drawn, Expansion
from amusd.errors import InputError
from amusd.models import ModelSpec, Runner, default_context, load_config, load_model
from amusd.models.draft_cells import DraftCells, NodeRow
from amusd.models.selfcheck import check_honoured
from amusd.models.timing import time_passes
from amusd.params import SamplingParams
from amusd.sampling import Prefixes, RowSampler, rules
from amusd.sampling.rules import Rule
from amusd.sampling.sampler import SCORE_MIN
from amusd.sampling.truncation import truncate
from amusd.speculation.messages import Draws, NodeId, RequestId

STEP_ROWS = 16  # up to so many are timed
BLOCK_CELLS = 64  # a draft need not be exact, so it attends to little more than there is


@dataclass(slots=True)
class _Request:
    slot: int
    log: list[int]
    sampler: RowSampler
    draws: bool  # whether its siblings are drawn by a rule that has to tell of it


@dataclass(frozen=True, slots=True)
class Logits:
    """One request's part of a step.

    Attributes:
        rows: [items, columns] logits after each item's node.
        places: [items] where each stands among all items of the step.
        prefixes: [items] all tokens up to and with each node, where the sampler needs them.
    """

    request: _Request
    items: Sequence[Expansion]
    rows: Tensor
    places: Sequence[int]
    prefixes: Sequence[Sequence[int]] | None

    @property
    def positions(self) -> list[int]:
        """[items] of the tokens that the rows predict."""
        return [item.position + 1 for item in self.items]


class ModelDrafter:
    """Guesses with a causal language model; every node is forwarded once, when it is expanded.

    Args:
        cells: of the model's runner, with a scratch cell for each node of a request's window.
        vocabulary_size: tokens that the target knows; no other is ever proposed.
        rule: `race` or `topk`, which draw with the target's noise or without any; a request may ask for the
            other.
    """

    def __init__(self, cells: DraftCells, vocabulary_size: int, rule: Rule | None = None) -> None:
        loaded = cells.runner.loaded
        if vocabulary_size > loaded.vocabulary_size:
            remedy = (
                f"it has {loaded.vocabulary_size} tokens, the target {vocabulary_size}; give another draft"
            )
            raise InputError("draft", loaded.name, remedy)
        self.step_seconds: Mapping[int, float] = {}
        self._cells = cells
        self._vocabulary_size = vocabulary_size
        self._rule = rule or rules.get("race")
        self._requests: dict[RequestId, _Request] = {}

    @property
    def length_max(self) -> int:
        """Positions that the model has cells for."""
        return self._cells.runner.context

    def describe(self) -> dict[str, Any]:
        """Facts for the start-up print."""
        loaded = self._cells.runner.loaded
        dtype = loaded.describe_dtype()
        return {
            "summary": f"{loaded.name}, {dtype}, {self._cells.runner.describe()}",
            "model": loaded.name,
            "dtype": dtype,
            "vocabulary_size": self._vocabulary_size,
            "max_model_len": self.length_max,
        }

    def open(
        self,
        request: RequestId,
        tokens: Sequence[int],
        prompt_length: int,
        params: SamplingParams,
        seed: int,
        *,
        sample_index: int = 0,
        end_tokens: Collection[int] = (),
    ) -> None:
        """Take a request.

        Raises:
            InputError: the log is longer than the model's context, or there is no slot left.
        """
        if len(tokens) > self.length_max:
            remedy = f"the draft holds {self.length_max} positions; it cannot help with this request"
            raise InputError("prompt", f"{len(tokens)} tokens", remedy)
        rule = self._rule if params.rule is None else rules.get(params.rule)
        sampler = RowSampler(
            params,
            seed=seed,
            vocabulary_size=self._vocabulary_size,
            prompt_length=prompt_length,
            sample_index=sample_index,
            device=self._cells.runner.loaded.device,
            end_tokens=end_tokens,
            noiseless=rule.name == "topk",
        )
        slot = self._cells.open(tokens)
        self._requests[request] = _Request(slot, list(tokens), sampler, rule.needs_q and not params.greedy)

    def read(self, request: RequestId, rows_max: int) -> int:
        """Prefill at most so many tokens of its log; how many are left."""
        return self._cells.catch_up(self._requests[request].slot, rows_max=rows_max)

    def close(self, request: RequestId) -> None:
        """Free the request's cells."""
        freed = self._requests.pop(request).slot
        moved = self._cells.close(freed)
        for other in self._requests.values():
            if other.slot == moved:
                other.slot = freed

    def expand(self, items: Sequence[Expansion]) -> list[Candidates]:
        """The first arrivals of each node's race, in one forward over all requests."""
        found: list[Candidates] = [[] for _ in items]
        for part in self._forward(items):
            for place, candidates in zip(part.places, self._first(part), strict=True):
                found[place] = candidates
        return found

    @staticmethod
    def _first(part: Logits) -> list[Candidates]:
        """The first arrivals below each item."""
        sampler = part.request.sampler
        arrivals = sampler.arrivals(part.rows, part.positions, part.prefixes)
        first = sampler.candidates(arrivals, max(item.count for item in part.items))
        return [candidates[: item.count] for item, candidates in zip(part.items, first, strict=True)]

    def _forward(self, items: Sequence[Expansion]) -> Iterator[Logits]:
        """One forward over all requests; what it says, request by request."""
        places: dict[RequestId, list[int]] = {}
        for place, item in enumerate(items):
            places.setdefault(item.request, []).append(place)
        rows = [
            (self._requests[request].slot, [_row(items[place]) for place in own])
            for request, own in places.items()
        ]
        logits = self._cells.forward(rows)
        for (request, own), part in zip(places.items(), logits, strict=True):
            state, wanted = self._requests[request], [items[place] for place in own]
            prefixes = (
                Prefixes(state.log, [item.path for item in wanted]) if state.sampler.needs_prefix else None
            )
            yield Logits(state, wanted, part, own, prefixes)

    def on_commit(
        self,
        request: RequestId,
        committed: Mapping[NodeId, int],
        dropped: Sequence[NodeId],
        tokens: Sequence[int],
        length: int,
    ) -> None:
        """Move the committed nodes' cells into the log, free those of the dropped."""
        state = self._requests[request]
        state.log += tokens
        assert len(state.log) == length, f"drafter's log of request {request} missed a commit"
        in_order = [node for node, _ in sorted(committed.items(), key=lambda item: item[1])]
        self._cells.commit(state.slot, tokens, in_order, dropped)

    def truncate(self, request: RequestId, tokens: Sequence[int]) -> None:
        """Keep the cells of what the logs share."""
        state = self._requests[request]
        state.log = list(tokens)
        self._cells.reset(state.slot, tokens)


class DrawingModelDrafter(ModelDrafter):
    """The same for a rule that needs the law that its siblings were drawn from.

    It draws with noise of its own, new for every node: neither what the target emits nor whether another
    node is drafted may depend on it. At temperature 0, and for a request that asks for `race` or `topk`,
    nothing is drawn and nothing is to be told.

    Args:
        seed: of that noise, which is no request's; None takes one from the machine.
    """

    def __init__(self, cells: DraftCells, vocabulary_size: int, rule: Rule, seed: int | None = None) -> None:
        super().__init__(cells, vocabulary_size, rule)
        self._noise = torch.Generator()
        if seed is None:
            self._noise.seed()
        else:
            self._noise.manual_seed(seed)

    def draw(self, items: Sequence[Expansion]) -> list[Drawn]:
        """Siblings by the rule below each node, in one forward over all requests."""
        found: dict[int, Drawn] = {}
        for part in self._forward(items):
            if part.request.draws:
                laws = part.request.sampler.probabilities(part.rows, part.positions, part.prefixes)
                drawn = [self._draw(law, item.count) for law, item in zip(laws, part.items, strict=True)]
            else:
                drawn = [Drawn(candidates, None) for candidates in self._first(part)]
            found |= dict(zip(part.places, drawn, strict=True))
        return [found[place] for place in range(len(items))]

    def _draw(self, q: Tensor, count: int) -> Drawn:
        """Draw from [vocab] probabilities, cut to what is sent of them."""
        law = truncate(q)
        noise = torch.empty(count, len(law.ids), dtype=torch.float64)
        noise.exponential_(generator=self._noise).log_()
        ids, weights = law.ids.tolist(), law.weights.tolist()
        places = self._rule.draw(law.weights.double(), count, noise)
        total, left = sum(weights), 1.0
        candidates = []
        for place in dict.fromkeys(places):
            # A sibling that was drawn is emitted with about min(1, p / q): far oftener than q says.
            score = left * (1.0 + weights[place] / total) / 2
            candidates.append((ids[place], max(SCORE_MIN, score)))
            left -= score
        return Drawn(candidates, Draws(tuple(ids[place] for place in places), tuple(ids), tuple(weights)))


def _row(item: Expansion) -> NodeRow:
    return NodeRow(item.node, item.token, item.position, item.ancestors)


def load_model_drafter(options: Mapping[str, Any], device: DeviceSpec) -> ModelDrafter:
    """Load a model and make a drafter of it; the options are those of `load_drafter`.

    Raises:
        InputError: an option cannot be used.
        ModelError: the model cannot be loaded, or does not fit.
    """
    # Set here too: a worker that was started by hand had torch in memory before the environment told the
    # count, and with two threads on one core a step of a few ms took seventy.
    torch.set_num_threads(len(device.cores) or 1)
    spec = ModelSpec(
        name=options["model"],
        dtype=options["dtype"],
        revision=options["revision"],
        trust_remote_code=options["trust_remote_code"],
        role="draft",
    )
    slots, window = options["max_requests"], options["window"]
    # A draft that holds fewer positions than the target helps as far as it reaches.
    context = default_context(load_config(spec), options["max_model_len"])
    loaded = load_model(spec, device, slots=slots, context=context, spare_cells=window)
    runner = Runner(loaded, slots=slots, context=context, block=BLOCK_CELLS, spare_cells=window)
    check_honoured(runner)
    vocabulary_size = min(options["vocabulary_size"], loaded.vocabulary_size)
    rule = rules.get(options["rule"])
    made = DrawingModelDrafter if rule.needs_q else ModelDrafter
    drafter = made(DraftCells(runner, window), vocabulary_size, rule)
    drafter.step_seconds = time_passes(runner, STEP_ROWS)
    return drafter
