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
    export      bf16 safetensors, held-out prompts, and the measurements of the model card

    python scripts/train_demo_pair.py --work-dir demo-pair --out-dir amusd/models/demo
"""

import argparse
import hashlib
import json
import math
import sysconfig
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

VOCABULARY_SIZE = 2048
END = "<|endoftext|>"
CONTEXT_TOKENS = 2048
TRAIN_LENGTH = 512
HELD_OUT_SHARE = 40  # one file in so many
DATA_PACKAGES = {"site-packages", "encodings", "pydoc_data", "__pycache__", "lib2to3", "idlelib"}
FILE_BYTES_MAX = 300_000


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of one Llama; heads are 64 wide, embeddings are tied."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    ffn: int

    def build(self) -> LlamaForCausalLM:
        """A freshly initialised float32 model."""
        config = LlamaConfig(
            vocab_size=VOCABULARY_SIZE,
            hidden_size=self.hidden,
            intermediate_size=self.ffn,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.kv_heads,
            head_dim=64,
            max_position_embeddings=CONTEXT_TOKENS,
            rope_theta=10_000.0,
            tie_word_embeddings=True,
            bos_token_id=0,
            eos_token_id=0,
            pad_token_id=0,
            attn_implementation="sdpa",
        )
        return LlamaForCausalLM(config)


SHAPES = {
    "target": Shape(hidden=384, layers=8, heads=6, kv_heads=2, ffn=1024),
    "draft-small": Shape(hidden=192, layers=2, heads=3, kv_heads=1, ffn=384),
    "draft-large": Shape(hidden=384, layers=2, heads=6, kv_heads=2, ffn=1024),
}
DRAFTS = ("draft-small", "draft-large")


# -- text ---------------------------------------------------------------------------------------


def corpus() -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """The standard library's source as (path, text): training files and held-out files."""
    root = Path(sysconfig.get_paths()["stdlib"])
    train: list[tuple[str, str]] = []
    held_out: list[tuple[str, str]] = []
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root).as_posix()
        if DATA_PACKAGES & set(name.split("/")) or path.stat().st_size > FILE_BYTES_MAX:
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # test files that are broken on purpose
        digest = int(hashlib.sha256(name.encode()).hexdigest(), 16)
        (held_out if digest % HELD_OUT_SHARE == 0 else train).append((name, text))
    return train, held_out


def train_tokenizer(texts: Iterator[str]) -> Tokenizer:
    """Byte-level BPE of ``VOCABULARY_SIZE`` tokens; token 0 ends a file."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def encode_files(tokenizer: Tokenizer, files: list[tuple[str, str]], seed: int) -> Tensor:
    """All files in a seeded order, an end token before each. Returns [tokens] int64."""
    order = torch.randperm(len(files), generator=torch.Generator().manual_seed(seed)).tolist()
    ids: list[int] = []
    for encoding in tokenizer.encode_batch([files[i][1] for i in order]):
        ids.append(0)
        ids.extend(encoding.ids)
    return torch.tensor(ids)


class Windows:
    """Seeded random windows over a token stream, the same for the same step."""

    def __init__(self, ids: Tensor, length: int, batch: int, seed: int) -> None:
        self.ids, self.length, self.batch, self.seed = ids, length, batch, seed

    def at(self, step: int) -> Tensor:
        """[batch, length + 1] tokens of one step."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        starts = torch.randint(0, len(self.ids) - self.length - 1, (self.batch,), generator=generator)
        return torch.stack([self.ids[s : s + self.length + 1] for s in starts.tolist()])


# -- optimisation -------------------------------------------------------------------------------


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
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(input_ids=batch[:, :-1], use_cache=False).logits
        return {name: functional.cross_entropy(logits.float().flatten(0, 1), batch[:, 1:].flatten())}

    return losses


def distillation_losses(
    target: torch.nn.Module, drafts: dict[str, torch.nn.Module], text: Windows, samples: Windows
) -> Callable[[int], dict[str, Tensor]]:
    """Forward KL from the target to each draft; one step in three on the target's own samples."""

    def losses(step: int) -> dict[str, Tensor]:
        batch = (samples if step % 3 == 0 else text).at(step)[:, :-1]
        with torch.autocast("cpu", torch.bfloat16):
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


# -- the target's own samples ---------------------------------------------------------------------


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
    half = LlamaForCausalLM(target.config).to(torch.bfloat16)
    half.load_state_dict(target.state_dict())
    shards, started = [], time.monotonic()
    for shard in range(math.ceil(tokens / (batch * (prompt_length + new_tokens)))):
        path = work / f"samples-{shard:04d}.pt"
        if not path.exists():
            prompts = Windows(ids, prompt_length - 1, batch, seed + 17).at(shard)
            torch.save(sample_target(half.eval(), prompts, new_tokens, 1 / 3, seed + shard), path)
            print(f"samples {shard + 1}: {time.monotonic() - started:.0f} s", flush=True)
        shards.append(torch.load(path, weights_only=True))
    return torch.cat(shards).flatten()


# -- measuring --------------------------------------------------------------------------------------


@torch.no_grad()
def measure(models: dict[str, LlamaForCausalLM], ids: Tensor, seed: int) -> dict[str, dict[str, float]]:
    """Held-out loss, and how often one race candidate is accepted, on the target's own continuations.

    The candidate is the draft's own winner under the noise that picks the target's token
    (exponential races, arXiv 2504.15475); at temperature 0 it is the draft's argmax.
    """
    halves = {}
    for name, model in models.items():
        halves[name] = LlamaForCausalLM(model.config).to(torch.bfloat16).eval()
        halves[name].load_state_dict(model.state_dict())
    prompts = Windows(ids, 127, 48, seed + 99).at(0)
    result: dict[str, dict[str, float]] = {name: {} for name in models}
    text = Windows(ids, TRAIN_LENGTH, 24, seed + 98).at(0)
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
larger draft starts over from the target's own embeddings and first two layers. Muon for matrices, AdamW for
embeddings and norms; bf16 autocast. Wall clock on two shared CPU cores: {seconds}.

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


def stage_seconds(work: Path) -> str:
    """How long each trained stage took, from its last checkpoint."""
    stages = (*SHAPES, "distill")
    seconds = {s: torch.load(work / f"{s}.pt", weights_only=True, mmap=True)["seconds"] for s in stages}
    return ", ".join(f"{stage} {value / 60:.0f} min" for stage, value in seconds.items())


def write_prompts(held_out: list[tuple[str, str]], tokenizer: Tokenizer, path: Path, count: int) -> None:
    """Held-out prompts as JSONL: 128 tokens from a file, cut at the start of a line."""
    rows = []
    for name, text in held_out:
        lines = text.splitlines(keepends=True)
        for start in range(40, len(lines), 90):
            ids = tokenizer.encode("".join(lines[start : start + 60])).ids
            if len(ids) > 200:
                rows.append({"prompt": tokenizer.decode(ids[:128]), "source": name, "line": start + 1})
    if len(rows) < count:
        raise SystemExit(f"the held-out files give {len(rows)} prompts, {count} are wanted")
    chosen = torch.randperm(len(rows), generator=torch.Generator().manual_seed(7))[:count].tolist()
    with path.open("w", encoding="utf-8") as file:
        for i in chosen:
            file.write(json.dumps(rows[i]) + "\n")


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
        "seconds": stage_seconds(work),
        **{key: value for key, value in vars(options).items() if isinstance(value, int)},
    }
    write_card(out / "README.md", facts, measurements)


if __name__ == "__main__":
    main()
