"""Train the model pair that ships with amusd: one target, two distilled drafts, one tokenizer.

Everything comes from text that every Python installation has, its own standard library, so the
script needs no network. Files are split into training and held-out text by a hash of their path.
The stages, each resumable (run the same command again):

    tokenizer   byte-level BPE over the training files
    target      Llama, 13 M parameters, Muon + AdamW
    drafts      Llama, 1 M and 4 M, two layers each, first trained on the same text
    samples     text that the target writes itself, a third greedy, the rest at temperature 1
    distill     both drafts towards the target's distribution on text and samples (DistillSpec,
                arXiv 2310.08461: forward KL); the larger one starts from the target's first layers
    polish      the smaller draft alone, small batches, KL and total variation
    export      bf16 safetensors, held-out prompts, and the measurements of the model card

    python scripts/train_demo_pair.py --work-dir demo-pair --out-dir amusd/models/demo
"""

import argparse
import json
from pathlib import Path

import torch
from demo_pair.measuring import measure
from demo_pair.sampling import write_samples
from demo_pair.shapes import DRAFTS, SHAPES, VOCABULARY_SIZE
from demo_pair.shipping import export, stage_seconds, write_card
from demo_pair.text import Windows, corpus, encode_files, train_tokenizer, write_prompts
from demo_pair.training import distillation_losses, graft, language_losses, optimise, polish_losses
from tokenizers import Tokenizer
from torch import Tensor
from transformers import LlamaForCausalLM

TRAIN_LENGTH = 512
POLISH_RATES = (2.5e-3, 2e-3)  # of the first round, and of later ones


def main() -> None:
    """Run every stage that is not done yet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work-dir", type=Path, required=True, help="checkpoints; kept between runs")
    parser.add_argument("--out-dir", type=Path, required=True, help="where the trained models go")
    parser.add_argument("--seed", type=int, default=20260)
    parser.add_argument("--batch", type=int, default=12, help="windows of 512 tokens per step")
    parser.add_argument("--target-steps", type=int, default=1300)
    parser.add_argument("--draft-steps", type=int, default=400)
    parser.add_argument("--sample-tokens", type=int, default=370_000)
    parser.add_argument("--distill-steps", type=int, default=1300)
    parser.add_argument("--polish-sample-tokens", type=int, default=740_000)
    parser.add_argument("--polish-batch", type=int, default=4, help="windows per step of polishing")
    parser.add_argument(
        "--polish-steps", type=int, nargs="*", default=[800, 300], help="of each round of polishing"
    )
    parser.add_argument(
        "--compile", action="store_true", help="torch.compile the models (needs a C++ compiler)"
    )
    options = parser.parse_args()
    work, out = options.work_dir, options.out_dir
    work.mkdir(parents=True, exist_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed)

    train_files, held_out_files = corpus()
    if not (work / "tokenizer.json").exists():
        train_tokenizer(text for _, text in train_files).save(str(work / "tokenizer.json"))
    tokenizer = Tokenizer.from_file(str(work / "tokenizer.json"))
    train_ids = encode_files(tokenizer, train_files, options.seed)
    held_out_ids = encode_files(tokenizer, held_out_files, options.seed)
    print(
        f"{len(train_files)} training files, {len(train_ids)} tokens; "
        f"{len(held_out_files)} held-out files, {len(held_out_ids)} tokens",
        flush=True,
    )

    models: dict[str, LlamaForCausalLM] = {}
    callables: dict[str, torch.nn.Module] = {}
    for name, shape in SHAPES.items():
        models[name] = shape.build()
        callables[name] = torch.compile(models[name]) if options.compile else models[name]
        print(f"{name}: {models[name].num_parameters() / 1e6:.2f} M parameters", flush=True)

    text = Windows(train_ids, TRAIN_LENGTH, options.batch, options.seed)
    for name in SHAPES:
        steps = options.target_steps if name == "target" else options.draft_steps
        rate = 2e-3 if name == "target" else 4e-3
        losses = language_losses(name, callables[name], text)
        optimise(name, {name: models[name]}, losses, steps, rate, work)

    before = measure(models, held_out_ids, options.seed)
    print(json.dumps(before), flush=True)
    sample_ids = write_samples(models["target"], train_ids, options.sample_tokens, options.seed, work)
    samples = Windows(sample_ids, TRAIN_LENGTH, options.batch, options.seed)
    losses = distillation_losses(callables["target"], {n: callables[n] for n in DRAFTS}, text, samples)
    graft(models["target"], models["draft-large"])
    optimise("distill", {n: models[n] for n in DRAFTS}, losses, options.distill_steps, 2e-3, work)
    polish(options, models, callables, train_ids)
    measurements = {
        "before_distillation": before,
        "after_distillation": measure(models, held_out_ids, options.seed),
    }
    print(json.dumps(measurements), flush=True)
    export(models, tokenizer, out)
    write_prompts(held_out_files, tokenizer, out / "prompts.jsonl", 120)
    facts = {
        "train_files": len(train_files),
        "train_tokens": len(train_ids),
        "held_out_files": len(held_out_files),
        "held_out_tokens": len(held_out_ids),
        "vocabulary": VOCABULARY_SIZE,
        "length": TRAIN_LENGTH,
        "seconds": stage_seconds(work, len(options.polish_steps)),
        "polish_steps_list": " and ".join(map(str, options.polish_steps)),
        **{key: value for key, value in vars(options).items() if isinstance(value, int)},
    }
    write_card(out / "README.md", facts, measurements)


def polish(
    options: argparse.Namespace,
    models: dict[str, LlamaForCausalLM],
    callables: dict[str, torch.nn.Module],
    train_ids: Tensor,
) -> None:
    """Bring the small draft closer still: small batches, by itself, in rounds that each warm up and decay."""
    work, name = options.work_dir, "draft-small"
    ids = write_samples(models["target"], train_ids, options.polish_sample_tokens, options.seed, work)
    for place, steps in enumerate(options.polish_steps):
        seed = options.seed + 5 + place
        text, samples = (Windows(each, TRAIN_LENGTH, options.polish_batch, seed) for each in (train_ids, ids))
        losses = polish_losses(callables["target"], name, callables[name], text, samples)
        optimise(f"polish-{place + 1}", {name: models[name]}, losses, steps, POLISH_RATES[place > 0], work)


if __name__ == "__main__":
    main()
