"""Held-out loss, and acceptance on the target's own continuations."""

import torch
from torch import Tensor
from torch.nn import functional
from transformers import LlamaForCausalLM

from demo_pair.sampling import rounded, sample_target
from demo_pair.shapes import DRAFTS
from demo_pair.text import Windows

TEXT_TOKENS = 512  # of a window


@torch.no_grad()
def measure(models: dict[str, LlamaForCausalLM], ids: Tensor, seed: int) -> dict[str, dict[str, float]]:
    """Held-out loss, and how often one race candidate is accepted, on the target's own continuations.

    The candidate is the draft's own winner under the noise that picks the target's token
    (exponential races, arXiv 2504.15475); at temperature 0 it is the draft's argmax.
    """
    halves = {name: rounded(model) for name, model in models.items()}
    prompts = Windows(ids, 127, 48, seed + 99).at(0)
    result: dict[str, dict[str, float]] = {name: {} for name in models}
    text = Windows(ids, TEXT_TOKENS, 24, seed + 98).at(0)
    for name, half in halves.items():
        logits = half(input_ids=text[:, :-1], use_cache=False).logits.float()
        loss = functional.cross_entropy(logits.flatten(0, 1), text[:, 1:].flatten())
        result[name]["held_out_loss"] = loss.item()
    for label, share in (("t0", 1.0), ("t1", 0.0)):
        rows = sample_target(halves["target"], prompts, 200, share, seed + 97)
        logits = {n: h(input_ids=rows, use_cache=False).logits[:, 127:-1].float() for n, h in halves.items()}
        for name in DRAFTS:
            if label == "t0":
                hits = logits["target"].argmax(-1) == logits[name].argmax(-1)
                result[name]["acceptance_t0"] = hits.float().mean().item()
                continue
            p, q = logits["target"].double().log_softmax(-1), logits[name].double().log_softmax(-1)
            generator = torch.Generator().manual_seed(seed + 96)
            noise = torch.empty(p.shape, dtype=torch.float64).exponential_(generator=generator).log_()
            hits = (noise - p).argmin(-1) == (noise - q).argmin(-1)
            result[name]["acceptance_t1"] = hits.float().mean().item()
    return result
