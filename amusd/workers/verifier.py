"""The target's model behind its engine: requests in, the target's own tokens out."""

from collections.abc import Sequence
from typing import Any

import torch

from amusd.devices import DeviceSpec
from amusd.errors import InputError
from amusd.models import ModelSpec, Runner, default_context, load_config, load_model
from amusd.models.selfcheck import SelfCheck, self_check
from amusd.models.target_cells import TargetCells
from amusd.orders import Order
from amusd.sampling import RowSampler
from amusd.speculation.messages import RequestId

PREFILL_TOKENS_MAX = 256  # of one turn, so that running requests wait for a new prompt's chunk at most


class Verifier:
    """Cells, samplers and logs of the live requests of one target; owned by one thread.

    Args:
        vocabulary_size: tokens that the target may emit; further columns of its logits are padding.
    """

    def __init__(self, runner: Runner, check: SelfCheck, vocabulary_size: int) -> None:
        self.vocabulary_size = vocabulary_size
        self._cells = TargetCells(runner)
        self._runner = runner
        self._check = check
        self._slots: dict[RequestId, int] = {}
        self._samplers: dict[RequestId, RowSampler] = {}
        self._logs: dict[RequestId, list[int]] = {}

    def describe(self) -> dict[str, Any]:
        """Facts for the start-up print and for the coordinator, in plain JSON types."""
        loaded = self._runner.loaded
        dtype = str(loaded.dtype).removeprefix("torch.")
        return {
            "summary": f"{loaded.name}, {dtype}, {self._runner.describe()}; {self._check.lines()[0]}",
            "model": loaded.name,
            "dtype": dtype,
            "vocabulary_size": self.vocabulary_size,
            "max_model_len": self._runner.context,
            "end_tokens": sorted(loaded.end_tokens),
            "exact": self._check.exact,
            "self_check": self._check.lines(),
        }

    def open(self, order: Order) -> None:
        """Take a request; its prompt is prefilled turn by turn.

        Raises:
            InputError: no slot is free, or a setting names a token that the model does not have.
        """
        sampler = RowSampler(
            order.params,
            seed=order.seed,
            vocabulary_size=self.vocabulary_size,
            prompt_length=order.prompt_length,
            sample_index=order.sample_index,
            device=self._runner.loaded.device,
            end_tokens=order.end_tokens,
        )
        self._slots[order.request] = self._cells.open()
        self._samplers[order.request] = sampler
        self._logs[order.request] = list(order.tokens)

    def close(self, request: RequestId) -> None:
        """Free the request's cells."""
        slot = self._slots.pop(request)
        moved = self._cells.close(slot)
        for other, held in self._slots.items():
            if held == moved:
                self._slots[other] = slot
        del self._samplers[request], self._logs[request]

    def prefill(self, request: RequestId) -> bool:
        """Prefill the next chunk of the prompt; returns whether the request can decode now."""
        slot, log = self._slots[request], self._logs[request]
        stop = min(len(log), max(self._cells.length(slot), 1) + PREFILL_TOKENS_MAX)
        self._cells.prefill(slot, log[:stop])
        return stop == len(log)

    def verify(self, chains: Sequence[tuple[RequestId, Sequence[int]]]) -> list[list[int]]:
        """One pass. Returns the target's own token after the root and after each node of each chain."""
        plans = [
            self._cells.plan(self._slots[request], self._logs[request][-1], tokens, range(len(tokens)))
            for request, tokens in chains
        ]
        logits = self._cells.forward(plans)  # [requests, W, vocabulary]
        winners = []
        for (request, tokens), rows in zip(chains, logits, strict=True):
            log, sampler = self._logs[request], self._samplers[request]
            positions = range(len(log), len(log) + len(tokens) + 1)
            prefixes = [[*log, *tokens[:i]] for i in range(len(tokens) + 1)] if sampler.needs_prefix else None
            winners.append(sampler.winners(sampler.arrivals(rows[: len(tokens) + 1], positions, prefixes)))
        return winners

    def keep(self, request: RequestId, accepted_rows: Sequence[int], tokens: Sequence[int]) -> None:
        """Commit the accepted rows of the last pass; ``tokens`` are all that the log grew by."""
        self._cells.keep(self._slots[request], accepted_rows)
        self._logs[request].extend(tokens)


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
    slots, context = options["max_requests"], options["max_model_len"] or default_context(load_config(spec))
    loaded = load_model(spec, device, slots=slots, context=context)
    if options["mode"] != "alone" and options["num_speculative_tokens"] >= context:
        remedy = f"give less than max_model_len, {context}"
        raise InputError("num_speculative_tokens", options["num_speculative_tokens"], remedy)
    runner = Runner(loaded, slots=slots, context=context)
    return Verifier(runner, self_check(runner), min(options["vocabulary_size"], loaded.vocabulary_size))
