"""The target's model behind its engine: requests in, the target's own tokens out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from amusd.devices import DeviceSpec
from amusd.errors import InputError, ProtocolError
from amusd.logprobs import RowLogprobs
from amusd.models import ModelSpec, Rows, Runner, default_context, load_config, load_model
from amusd.models.cells import full_cells
from amusd.models.runner import CPU_BLOCK_CELLS, round_up
from amusd.models.selfcheck import SelfCheck, self_check
from amusd.models.sizes import available_bytes, cells_total
from amusd.models.target_cells import TargetCells
from amusd.models.timing import time_passes, time_width
from amusd.orders import Order
from amusd.params import ProcessorsOf
from amusd.policies.choices import BRANCHES_MAX, Choice
from amusd.policies.costs import CostCurve
from amusd.sampling import Prefixes, RowSampler, rules
from amusd.sampling.logprobs import row_logprobs
from amusd.sampling.rules import Rule
from amusd.sampling.sampler import Law
from amusd.sampling.truncation import SparseLaw
from amusd.speculation.messages import Draws, RequestId
from amusd.speculation.tree import TreeNode
from amusd.workers.cost_files import CostFile, machine


@dataclass(frozen=True, slots=True)
class Wanted:
    """How many of the most likely tokens come back with their logprobs; None for no logprobs at all."""

    output: int | None
    prompt: int | None


class Verifier:
    """Cells, samplers and logs of the live requests of one target; owned by one thread.

    Args:
        costs: of the runner's passes.
        cost_file: keeps them from one life to the next; None: nobody does.
        vocabulary_size: tokens that the target may emit; further columns of its logits are padding.
        rule: by which the token after a node is emitted where siblings were drawn below it, unless a request
            asks for another; None: `race`.
        processors: Python logits processors of requests that are opened from this very process.
        slots_each: how many slots a request takes in a pass.

    Attributes:
        failures: requests whose Python logits processors failed in the last pass; its winners mean nothing.
    """

    def __init__(
        self,
        runner: Runner,
        check: SelfCheck,
        costs: CostCurve,
        vocabulary_size: int,
        rule: Rule | None = None,
        processors: ProcessorsOf | None = None,
        cost_file: CostFile | None = None,
        slots_each: int = 1,
    ) -> None:
        self.costs = costs
        self.cost_file = cost_file
        self.vocabulary_size = vocabulary_size
        self.rule = rule or rules.get("race")
        self.failures: dict[RequestId, InputError] = {}
        self._processors = {} if processors is None else processors
        self._cells = TargetCells(runner)
        self._runner = runner
        self._check = check
        self._slots_each = slots_each
        self._slots: dict[RequestId, int] = {}  # of those that have cells
        self._samplers: dict[RequestId, RowSampler] = {}
        self._logs: dict[RequestId, list[int]] = {}
        self._wanted: dict[RequestId, Wanted] = {}
        self._due: dict[RequestId, range] = {}  # positions of the prompt whose logprobs are still to come
        self._bound: set[RequestId] = set()  # by what was drawn for them: their rule needs q
        self._raw: dict[RequestId, list[Tensor]] = {}  # of the last pass, per row, where logprobs are wanted

    def describe(self) -> dict[str, Any]:
        """Facts for the start-up print and for the coordinator, in plain JSON types."""
        loaded = self._runner.loaded
        dtype = loaded.describe_dtype()
        by_rule = f"exact in distribution, by the rule {self.rule.name}"
        exactness = by_rule if self.rule.needs_q else self._check.lines()[0]
        remarks = [self.cost_file.remark] if self.cost_file is not None and self.cost_file.remark else []
        return {
            "summary": "; ".join([f"{loaded.name}, {dtype}, {self._runner.describe()}", exactness, *remarks]),
            "model": loaded.name,
            "dtype": dtype,
            "vocabulary_size": self.vocabulary_size,
            "max_model_len": self._runner.context,
            "end_tokens": sorted(loaded.end_tokens),
            "rule": self.rule.name,
            "exact": self._check.exact,
            "self_check": self._check.lines(),
        }

    def attended(self, cells: int) -> int:
        """The cells that a pass attends to where the longest log has so many."""
        return round_up(cells, self._runner.block)

    def chunk_seconds(self, rows: int, cells: int) -> float:
        """What a chunk of so many rows took at the start-up, or would by what passes cost."""
        foreseen = self.costs.seconds(1, rows, cells)
        measured = self._check.prefill_seconds.get(rows)
        if measured is None:
            return foreseen
        return measured * foreseen / self.costs.seconds(1, rows, self._runner.block)

    @property
    def slots_used(self) -> int:
        """How many requests have cells."""
        return len(self._slots)

    def can_hold(self, requests: int, cells: int) -> bool:
        """Whether so many requests can have cells while the longest of them needs so many."""
        return self._runner.can_hold(requests * self._slots_each, cells)

    def open(self, order: Order) -> None:
        """Take a request, which has no cells yet.

        Raises:
            InputError: a setting names a token that the model does not have.
        """
        params = order.params
        if functions := self._processors.get(order.request):
            params = params.model_copy(update={"logits_processors": functions})
        sampler = RowSampler(
            params,
            seed=order.seed,
            vocabulary_size=self.vocabulary_size,
            prompt_length=order.prompt_length,
            sample_index=order.sample_index,
            device=self._runner.loaded.device,
            # As in vLLM, min_tokens keeps off the model's own end even where it would not end the request.
            end_tokens=order.end_tokens | self._runner.loaded.end_tokens,
        )
        self._samplers[order.request] = sampler
        self._logs[order.request] = list(order.tokens)
        if rules.get(params.rule or self.rule.name).needs_q:
            self._bound.add(order.request)
        if params.logprobs is not None or params.prompt_logprobs is not None:
            # A request that goes on after a target was lost has its prompt's numbers already.
            fresh = len(order.tokens) == order.prompt_length
            self._wanted[order.request] = Wanted(params.logprobs, params.prompt_logprobs if fresh else None)
            if fresh and params.prompt_logprobs is not None:
                self._due[order.request] = range(1, order.prompt_length)

    def take_cells(self, request: RequestId) -> None:
        """Give a request cells; its log is prefilled turn by turn."""
        self._slots[request] = self._cells.open()

    def free_cells(self, request: RequestId) -> None:
        """Take a request's cells away, if it has some; it may get others later."""
        slot = self._slots.pop(request, None)
        if slot is None:
            return
        moved = self._cells.close(slot)
        for other, held in self._slots.items():
            if held == moved:
                self._slots[other] = slot

    def close(self, request: RequestId) -> None:
        """Forget a request and free its cells."""
        self.free_cells(request)
        del self._samplers[request], self._logs[request]
        self._wanted.pop(request, None)
        self._due.pop(request, None)
        self._bound.discard(request)
        self._raw.pop(request, None)

    def unwritten(self, request: RequestId) -> range:
        """The positions that prefills have still to reach, the first and the end of the log."""
        return range(max(self._cells.length(self._slots[request]), 1), len(self._logs[request]))

    def prefill(self, request: RequestId, rows_max: int) -> tuple[int, list[RowLogprobs]]:
        """Prefill the next tokens of the log, at most so many.

        Returns:
            a position, and the logprobs of the prompt's tokens from there on which now are known, where they
            are wanted and did not come before.
        """
        slot, log, left = self._slots[request], self._logs[request], self.unwritten(request)
        start, stop = left.start, min(left.stop, left.start + rows_max)
        due = self._due.get(request, range(0))
        first, end = max(start, due.start), min(stop, due.stop)
        if first >= end:
            self._cells.prefill(slot, log[:stop])
            return start, []
        rows = self._cells.prefill(slot, log[:stop], head=True)  # [stop - start, vocabulary]
        count = self._wanted[request].prompt
        assert rows is not None and count is not None
        self._due[request] = range(end, due.stop)
        return first, self._logprobs(rows[first - start : end - start], log[first:end], count)

    def logprobs(
        self, request: RequestId, accepted_rows: Sequence[int], tokens: Sequence[int]
    ) -> list[RowLogprobs]:
        """Those of the tokens that the last pass committed; none where they are not wanted.

        Args:
            accepted_rows: of the accepted nodes.
            tokens: what comes after the root and after each of those.
        """
        wanted = self._wanted.get(request)
        if wanted is None or wanted.output is None:
            return []
        rows = self._raw[request]
        return self._logprobs(
            [rows[row] for row in (0, *accepted_rows)[: len(tokens)]], tokens, wanted.output
        )

    def _logprobs(self, rows: Iterable[Tensor], tokens: Sequence[int], count: int) -> list[RowLogprobs]:
        return row_logprobs(rows, tokens, count=count, vocabulary_size=self.vocabulary_size)

    def check(self, draws: Draws) -> None:
        """Refuse draws that the rule never makes.

        Raises:
            ProtocolError: they are such.
        """
        try:
            places = [draws.ids.index(token) for token in draws.tokens]
            self.rule.check(torch.tensor(draws.weights), places)
        except ValueError as error:
            raise ProtocolError(f"a drafter sent draws that are not the rule's: {error}") from error

    def verify(
        self,
        choices: Mapping[RequestId, Choice],
        draws: Mapping[RequestId, Sequence[Draws | None]] | None = None,
        *,
        apart: bool = False,
    ) -> list[list[int]]:
        """One pass over the requests' choices of nodes.

        Args:
            draws: what the rule drew below the root and each node of a choice, if it did; all of it, or the
                text does not have the target's law.
            apart: give each path of a choice a batch row of its own, over copied cells: exact where a tree's
                scattered cells are exact up to rounding only.

        Returns:
            the target's own token after the root and after each node of each choice.
        """
        self.failures.clear()
        drawn = draws or {}
        if apart:
            return self._verify_apart(choices, drawn)
        plans = [
            self._plan(request, self._slots[request], choice.nodes, choice.parents)
            for request, choice in choices.items()
        ]
        logits = self._cells.forward(plans)
        self._raw = {
            request: list(rows)
            for request, rows in zip(choices, logits, strict=True)
            if request in self._wanted
        }
        return [
            self._winners(request, plan, rows, drawn.get(request, ()))
            for request, plan, rows in zip(choices, plans, logits, strict=True)
        ]

    def _verify_apart(
        self, choices: Mapping[RequestId, Choice], draws: Mapping[RequestId, Sequence[Draws | None]]
    ) -> list[list[int]]:
        branches = [
            (request, index, rows)
            for request, choice in choices.items()
            for index, rows in enumerate(choice.chains() or [[]])
        ]
        slots = [
            self._slots[request] if index == 0 else self._cells.branch(self._slots[request])
            for request, index, _ in branches
        ]
        plans = []
        for (request, _, rows), slot in zip(branches, slots, strict=True):
            nodes = [choices[request].nodes[row - 1] for row in rows]
            plans.append(self._plan(request, slot, nodes, range(len(nodes))))
        logits = self._cells.forward(plans)
        found = {request: [-1] * (1 + len(choice.nodes)) for request, choice in choices.items()}
        self._raw = {
            request: [torch.empty(0)] * len(rows)
            for request, rows in found.items()
            if request in self._wanted
        }
        for (request, _, rows), slot, plan, branch_logits in zip(branches, slots, plans, logits, strict=True):
            drawn = [draws[request][row] for row in (0, *rows)] if request in draws else ()
            winners = self._winners(request, plan, branch_logits, drawn)
            for place, (row, winner) in enumerate(zip((0, *rows), winners, strict=True)):
                found[request][row] = winner
                if request in self._wanted:
                    self._raw[request][row] = branch_logits[place]
            accepted = 0
            while accepted < len(rows) and plan.tokens[accepted + 1] == winners[accepted]:
                accepted += 1
            if accepted and slot != self._slots[request]:
                self._cells.merge(slot, self._slots[request], 1 + accepted)
        for slot in sorted(set(slots) - set(self._slots.values()), reverse=True):
            self._cells.close(slot)
        return list(found.values())

    def _plan(self, request: RequestId, slot: int, nodes: Sequence[TreeNode], parents: Sequence[int]) -> Rows:
        return self._cells.plan(slot, self._logs[request][-1], [node.token for node in nodes], parents)

    def _winners(
        self, request: RequestId, plan: Rows, logits: Tensor, draws: Sequence[Draws | None]
    ) -> list[int]:
        """The target's own token after each of [rows, vocabulary] rows."""
        log, sampler = self._logs[request], self._samplers[request]
        prefixes = None
        if sampler.needs_prefix:
            row_of = {cell: row for row, cell in enumerate(plan.cells)}
            paths = [[plan.tokens[row_of[cell]] for cell in path[1:]] for path in plan.ancestors]
            prefixes = Prefixes(log, paths)
        positions = [position + 1 for position in plan.positions]
        bound = draws if request in self._bound else ()
        laws = {row: self._law(each) for row, each in enumerate(bound) if each is not None}
        try:
            return sampler.winners(sampler.arrivals(logits, positions, prefixes, laws))
        except InputError as error:
            self.failures[request] = error
            return [0] * len(positions)

    def _law(self, draws: Draws) -> Law:
        """What the rule makes of the target's probabilities at a row."""
        sparse = SparseLaw(torch.tensor(draws.ids), torch.tensor(draws.weights))
        q = sparse.dense(self.vocabulary_size).to(self._runner.loaded.device)
        return lambda p: self.rule.law(p, q, draws.tokens)

    def keep(self, request: RequestId, accepted_rows: Sequence[int], tokens: Sequence[int]) -> None:
        """Commit the accepted rows of the last pass; ``tokens`` are all that the log grew by.

        Of branches that were verified apart the accepted one lies in place already: its rows are 1, 2, ...
        """
        self._cells.keep(self._slots[request], accepted_rows)
        self._logs[request].extend(tokens)


CROWD_ROWS: Final = 64
"""Of the widest pass that is timed when a target is loaded: of 16 requests with three nodes each."""


def load_verifier(options: dict[str, Any], device: DeviceSpec) -> Verifier:
    """Load the target that a worker's options name, and check what agrees bit for bit on this device.

    Raises:
        AmusdError: the model cannot be loaded, run, or held in memory.
    """
    torch.set_num_threads(len(device.cores) or 1)
    spec = ModelSpec(
        options["model"],
        dtype=options["dtype"],
        revision=options["revision"],
        trust_remote_code=options["trust_remote_code"],
        quantization=options["quantization_config"],
        widen=options["widen"],
        role="target",
    )
    context = options["max_model_len"] or default_context(load_config(spec))
    slots_each = 1 + BRANCHES_MAX if options["verify"] == "rows" else 1
    loaded = load_model(spec, device, slots=slots_each, context=context)
    if options["mode"] != "alone" and options["num_speculative_tokens"] >= context:
        remedy = f"give less than max_model_len, {context}"
        raise InputError("num_speculative_tokens", options["num_speculative_tokens"], remedy)
    slots = slots_each * options["max_requests"]
    cells_each = round_up(context, CPU_BLOCK_CELLS)
    total = cells_total(
        full_cells(slots, cells_each),
        full_cells(slots_each, cells_each),
        loaded.cells_bytes(1, 1),
        available_bytes(device),
        options["kv_cache_memory_bytes"],
    )
    runner = Runner(loaded, slots=slots, context=context, cells_total=total)
    rows_max = options["num_speculative_tokens"] + 1
    check = self_check(runner, 1 if options["mode"] == "alone" else rows_max)
    together = loaded.lean is not None and options["verify"] != "rows"
    crowd = rows_max * options["max_requests"] if together else rows_max
    costs = CostCurve(
        time_passes(runner, min(crowd, CROWD_ROWS)),
        loaded.rows_multiple,
        rows_max * options["max_requests"],
        together=together,
        per_wide=time_width(runner) if together and options["mode"] != "alone" else 0.0,
    )
    cost_file = CostFile(
        {
            "model": loaded.name,
            "revision": options["revision"],
            "widen": options["widen"],
            "quantization": str(options["quantization_config"]),
            "dtype": loaded.describe_dtype(),
            **machine(device),
            "verify": options["verify"],
            "rows": costs.to_dict()["rows"],
            "together": costs.together,
        },
        costs,
    )
    cost_file.read()
    return Verifier(
        runner,
        check,
        costs,
        min(options["vocabulary_size"], loaded.vocabulary_size),
        rules.get(options["rule"]),
        options.get("processors"),
        cost_file,
        slots_each,
    )
