"""Text that the target writes itself."""

import math
import time
from pathlib import Path

import torch
from torch import Tensor
from transformers import LlamaForCausalLM

from amusd.models.packing import has_bfloat16_products
from demo_pair.text import Windows


def rounded(model: LlamaForCausalLM) -> LlamaForCausalLM:
    """A copy with its weights rounded to bfloat16, as it ships; float32 where bfloat16 is slow."""
    copy = LlamaForCausalLM(model.config).to(torch.bfloat16)
    copy.load_state_dict(model.state_dict())
    return copy.eval() if has_bfloat16_products() else copy.float().eval()


@torch.no_grad()
def sample_target(
    target: LlamaForCausalLM, prompts: Tensor, new_tokens: int, greedy_share: float, seed: int
) -> Tensor:
    """Continue [batch, length] prompts; the first rows greedily, the others at temperature 1."""
    generator = torch.Generator().manual_seed(seed)
    greedy = int(greedy_share * len(prompts))
    rows, cache, step_input = prompts, None, prompts
    for _ in range(new_tokens):
        output = target(input_ids=step_input, past_key_values=cache, use_cache=True)
        cache = output.past_key_values
        logits = output.logits[:, -1].float()
        drawn = torch.multinomial(logits[greedy:].softmax(-1), 1, generator=generator)
        step_input = torch.cat([logits[:greedy].argmax(-1, keepdim=True), drawn])
        rows = torch.cat([rows, step_input], dim=1)
    return rows


def write_samples(target: LlamaForCausalLM, ids: Tensor, tokens: int, seed: int, work: Path) -> Tensor:
    """Sample until ``tokens`` tokens are there, in shards that a second run keeps."""
    batch, prompt_length, new_tokens = 192, 64, 256
    half, started = rounded(target), time.monotonic()
    shards = []
    for shard in range(math.ceil(tokens / (batch * (prompt_length + new_tokens)))):
        path = work / f"samples-{shard:04d}.pt"
        if not path.exists():
            prompts = Windows(ids, prompt_length - 1, batch, seed + 17).at(shard)
            torch.save(sample_target(half, prompts, new_tokens, 1 / 3, seed + shard), path)
            print(f"samples {shard + 1}: {time.monotonic() - started:.0f} s", flush=True)
        shards.append(torch.load(path, weights_only=True))
    return torch.cat(shards).flatten()
