"""Training loops that checkpoint and resume, and their losses."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional
from transformers import LlamaForCausalLM

from amusd.models.packing import has_bfloat16_products
from demo_pair.text import Windows


def half_precision() -> AbstractContextManager[None]:
    """bfloat16 autocast where this CPU has products for it; others are several times slower in it."""
    return torch.autocast("cpu", torch.bfloat16) if has_bfloat16_products() else nullcontext()


def build_optimizers(model: LlamaForCausalLM, rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, AdamW for embeddings and norms."""
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim < 2 or "embed" in n]
    return [
        torch.optim.Muon(matrices, lr=rate, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def rate_factor(step: int, steps: int) -> float:
    """Warm up, hold, then fall linearly to 2 % over the last 45 %."""
    warmup, decay = 40, 0.45 * steps
    return min(1.0, (step + 1) / warmup, 0.02 + 0.98 * (steps - step) / decay)


def optimise(
    name: str,
    trained: dict[str, LlamaForCausalLM],
    losses: Callable[[int], dict[str, Tensor]],
    steps: int,
    rate: float,
    work: Path,
) -> None:
    """Run a training loop over one or several models; checkpoint every 100 steps and resume."""
    done, checkpoint = work / f"{name}.done", work / f"{name}.pt"
    optimizers = {key: build_optimizers(model, rate) for key, model in trained.items()}
    first, seconds_before = 0, 0.0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        first, seconds_before = state["step"], state["seconds"]
        for key, model in trained.items():
            model.load_state_dict(state[key])
            for optimizer, saved in zip(optimizers[key], state[f"{key}.optimizers"], strict=True):
                optimizer.load_state_dict(saved)
    if done.exists():
        return
    started = time.monotonic()

    def save(step: int) -> None:
        state = {"step": step, "seconds": seconds_before + time.monotonic() - started}
        for key, model in trained.items():
            state[key] = model.state_dict()
            state[f"{key}.optimizers"] = [optimizer.state_dict() for optimizer in optimizers[key]]
        torch.save(state, checkpoint.with_suffix(".new"))
        checkpoint.with_suffix(".new").rename(checkpoint)

    for step in range(first, steps):
        for group in (g for pair in optimizers.values() for o in pair for g in o.param_groups):
            group["lr"] = rate * rate_factor(step, steps)
        values = losses(step)
        torch.stack(list(values.values())).sum().backward()
        for key, model in trained.items():
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for optimizer in optimizers[key]:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
        if step % 10 == 0 or step == steps - 1:
            elapsed = time.monotonic() - started
            left = elapsed / (step - first + 1) * (steps - step - 1)
            shown = "  ".join(f"{key} {value.item():.3f}" for key, value in values.items())
            print(f"{name} {step + 1}/{steps}  {shown}  {elapsed:.0f} s, {left:.0f} s left", flush=True)
        if (step + 1) % 100 == 0:
            save(step + 1)
    save(steps)
    done.touch()


def language_losses(
    name: str, model: torch.nn.Module, windows: Windows
) -> Callable[[int], dict[str, Tensor]]:
    """Next-token cross entropy of one model on text."""

    def losses(step: int) -> dict[str, Tensor]:
        batch = windows.at(step)
        with half_precision():
            logits = model(input_ids=batch[:, :-1], use_cache=False).logits
        return {name: functional.cross_entropy(logits.float().flatten(0, 1), batch[:, 1:].flatten())}

    return losses


def distillation_losses(
    target: torch.nn.Module, drafts: dict[str, torch.nn.Module], text: Windows, samples: Windows
) -> Callable[[int], dict[str, Tensor]]:
    """Forward KL from the target to each draft; one step in three on the target's own samples."""

    def losses(step: int) -> dict[str, Tensor]:
        batch = (samples if step % 3 == 0 else text).at(step)[:, :-1]
        with half_precision():
            with torch.no_grad():
                wanted = functional.log_softmax(target(input_ids=batch, use_cache=False).logits.float(), -1)
            values = {}
            for name, draft in drafts.items():
                got = functional.log_softmax(draft(input_ids=batch, use_cache=False).logits.float(), -1)
                values[name] = (wanted.exp() * (wanted - got)).sum(-1).mean()
        return values

    return losses


def graft(target: LlamaForCausalLM, draft: LlamaForCausalLM) -> None:
    """Start a draft from the target's embeddings, first layers and final norm; the shapes must agree.

    After 50 distillation steps of 2,048 tokens its KL was 1.53, a draft trained on 2.4 M tokens of text 1.40
    and falling more slowly.
    """
    own = draft.state_dict()
    draft.load_state_dict({name: tensor for name, tensor in target.state_dict().items() if name in own})


def polish_losses(
    target: torch.nn.Module, name: str, draft: torch.nn.Module, text: Windows, samples: Windows
) -> Callable[[int], dict[str, Tensor]]:
    """Half the forward KL plus the total variation from the target; every second step on its own samples.

    What a race accepts is bounded by the total variation: at least (1 - tv) / (1 + tv) (arXiv 2408.07978).
    """

    def losses(step: int) -> dict[str, Tensor]:
        batch = (samples if step % 2 == 0 else text).at(step)[:, :-1]
        with half_precision():
            with torch.no_grad():
                wanted = functional.log_softmax(target(input_ids=batch, use_cache=False).logits.float(), -1)
            got = functional.log_softmax(draft(input_ids=batch, use_cache=False).logits.float(), -1)
        p = wanted.exp()
        kl = (p * (wanted - got)).sum(-1).mean()
        return {f"{name} kl/2": kl / 2, f"{name} tv": 0.5 * (p - got.exp()).abs().sum(-1).mean()}

    return losses
