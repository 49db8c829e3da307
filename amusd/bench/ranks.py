"""Where the target's own tokens stand among a draft's candidates: what acceptance is made of.

The draft reads the target's output as it stands and races at each position with the noise of the target's
own race there. A token's rank is its place in the order of arrival: rank 1 would have been accepted, rank 2
is what a first branch foresees, and so on. It depends on no engine, schedule or clock.
"""

from typing import Any

import torch
from transformers import AutoModelForCausalLM

from amusd.devices import parse_device
from amusd.models.names import find_source, quiet
from amusd.params import SamplingParams
from amusd.sampling import RowSampler


class DraftRanks:
    """A draft that is asked for ranks.

    Args:
        options: ``device``, ``draft``, ``dtype`` and ``vocabulary_size``, of the tokenizer.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        device = parse_device(options["device"])
        torch.set_num_threads(max(1, len(device.cores)))
        source = find_source(options["draft"], "draft")
        with quiet():
            self._model: Any = AutoModelForCausalLM.from_pretrained(
                source.path, dtype=options["dtype"], local_files_only=source.local_only
            )
        self.facts = str(self._model.dtype)
        self._vocabulary_size: int = options["vocabulary_size"]

    @torch.inference_mode()
    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Ranks, counted from 1, of the tokens of one output.

        Args:
            request: ``prompt`` and ``output`` (token ids), ``temperature`` and ``seed`` of the output.
        """
        prompt, output = request["prompt"], request["output"]
        logits = self._model(input_ids=torch.tensor([[*prompt, *output[:-1]]])).logits[0, len(prompt) - 1 :]
        sampler = RowSampler(
            SamplingParams(temperature=request["temperature"]),
            seed=request["seed"],
            vocabulary_size=min(self._vocabulary_size, logits.shape[1]),
            prompt_length=len(prompt),
        )
        positions = range(len(prompt), len(prompt) + len(output))
        arrivals = sampler.arrivals(logits, positions)  # [output, vocabulary]
        return {"ranks": ranks_of(arrivals, output)}


def ranks_of(arrivals: torch.Tensor, tokens: list[int]) -> list[int]:
    """The place of each row's token in its order of arrival, from 1; of equals the lower id is first.

    Args:
        arrivals: [rows, vocabulary], smaller is earlier.
        tokens: one for each row.
    """
    own = torch.tensor(tokens)[:, None]  # [rows, 1]
    keys = arrivals.gather(1, own)  # [rows, 1]
    ids = torch.arange(arrivals.shape[1])[None, :]  # [1, vocabulary]
    before = (arrivals < keys) | ((arrivals == keys) & (ids < own))
    ranks: list[int] = (before.sum(dim=1) + 1).tolist()
    return ranks
