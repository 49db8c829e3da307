"""Weights, tokenizer and model card as they ship."""

from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from demo_pair.shapes import CONTEXT_TOKENS, DRAFTS, SHAPES
from demo_pair.text import END


def export(models: dict[str, LlamaForCausalLM], tokenizer: Tokenizer, out: Path) -> None:
    """Write the three models as bf16 safetensors, each with the tokenizer beside it."""
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        bos_token=None,
        pad_token=END,
        model_max_length=CONTEXT_TOKENS,
        clean_up_tokenization_spaces=False,
    )
    for name, model in models.items():
        half = LlamaForCausalLM(model.config).to(torch.bfloat16)
        half.load_state_dict(model.state_dict())
        half.generation_config.eos_token_id = 0
        half.save_pretrained(out / name)
        fast.save_pretrained(out / name)


CARD = """---
license: psf-2.0
---
# The embedded pair

Three small Llama models with one tokenizer, so that amusd can be tried, tested and measured without a
download. They write text that looks like Python; they know nothing else.

| model | parameters | layers | hidden | FFN | held-out loss |
|---|---|---|---|---|---|
{sizes}

**Data.** The source of Python's own standard library (PSF-2.0 licence), split by a hash of the path:
{train_files} files, {train_tokens} tokens, for training and {held_out_files} files, {held_out_tokens} tokens,
held out. Byte-level BPE of {vocabulary} tokens. `prompts.jsonl` holds prompts from held-out files.

**Recipe.** `scripts/train_demo_pair.py`, seed {seed}: windows of {length} tokens, {batch} per step. The
target trains for {target_steps} steps, each draft for {draft_steps} on the same text; then both drafts
take {distill_steps} steps of forward KL towards the target (DistillSpec, arXiv 2310.08461), two in three
on text, one on {sample_tokens} tokens that the target wrote itself, a third of them greedily. For this the
larger draft starts over from the target's own embeddings and first two layers. The smaller draft is then
polished by itself, {polish_steps_list} steps of {polish_batch} windows: half the forward KL plus the total
variation from the target, every second step on {polish_sample_tokens} tokens that the target wrote. Muon
for matrices, AdamW for embeddings and norms; bf16 autocast where the CPU has bf16 products. Wall clock on
two shared CPU cores: {seconds}.

**Acceptance.** How often one race candidate of the draft is the target's token, on the target's own
continuations (200 tokens each) of 48 held-out prompts of 128 tokens:

| draft | temperature 0, before distillation | after | temperature 1, before | after |
|---|---|---|---|---|
{acceptance}
"""


def write_card(
    path: Path, facts: dict[str, object], measurements: dict[str, dict[str, dict[str, float]]]
) -> None:
    """The model card, from what this run measured."""
    before, after = measurements["before_distillation"], measurements["after_distillation"]
    sizes = [
        f"| {name} | {shape.build().num_parameters() / 1e6:.2f} M | {shape.layers} | {shape.hidden}"
        f" | {shape.ffn} | {after[name]['held_out_loss']:.3f} |"
        for name, shape in SHAPES.items()
    ]
    rows = [
        f"| {name} | "
        + " | ".join(
            f"{when[name][key]:.3f}" for key in ("acceptance_t0", "acceptance_t1") for when in (before, after)
        )
        + " |"
        for name in DRAFTS
    ]
    card = CARD.format(sizes="\n".join(sizes), acceptance="\n".join(rows), **facts)
    path.write_text(card, encoding="utf-8")


def stage_seconds(work: Path, rounds: int) -> str:
    """How long each trained stage took, from its last checkpoint."""
    stages = (*SHAPES, "distill", *(f"polish-{place + 1}" for place in range(rounds)))
    seconds = {s: torch.load(work / f"{s}.pt", weights_only=True, mmap=True)["seconds"] for s in stages}
    return ", ".join(f"{stage} {value / 60:.0f} min" for stage, value in seconds.items())
