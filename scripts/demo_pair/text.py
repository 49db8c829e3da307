"""Text that every Python installation has, its tokenizer, and windows over it."""

import hashlib
import json
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor

from demo_pair.shapes import VOCABULARY_SIZE

END = "<|endoftext|>"
HELD_OUT_SHARE = 40  # one file in so many
DATA_PACKAGES = {"site-packages", "encodings", "pydoc_data", "__pycache__", "lib2to3", "idlelib"}
FILE_BYTES_MAX = 300_000


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
