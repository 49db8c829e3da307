"""llama.cpp through its C API, alone and with a draft model, greedy.

The loop is that of llama.cpp's own `examples/speculative-simple`: draft a chain, decode it in one batch,
keep what agrees. Python does no more than pick the greatest logit of each row.
"""

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import llama_cpp as api
import numpy as np

from amusd.bench.gguf_export import export
from amusd.devices import parse_device
from amusd.models.names import Role

BATCH_TOKENS_MAX: Final = 512
CONTEXT_TOKENS: Final = 2048


class LlamacppRival:
    """A target, and its drafts as they are asked for.

    Args:
        options: ``device``, ``target``, ``widen`` and ``dtype``.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options
        self._threads = max(1, len(parse_device(options["device"]).cores))
        api.llama_backend_init()
        self.facts = f"{self._threads} threads, {api.llama_print_system_info().decode().strip()}"
        self._target = self._load(options["target"], "target", options["widen"])
        self._drafts: dict[str, LlamaModel] = {}

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Decode one prompt; the answer is a `Run`."""
        prompt, count = request["prompt"], request["tokens"]
        draft = self._draft(request["draft"]) if request["draft"] is not None else None
        target = self._target
        target.forget(0)
        started = time.perf_counter()
        if draft is not None:
            draft.forget(0)  # it reads the prompt with its first chain
        output = [target.decode(prompt, 1)[0]]
        first_seconds = time.perf_counter() - started
        passes, verified = 1, 0
        while len(output) < count:
            wanted = min(request["k"] or 0, count - len(output) - 1)
            chain = [] if draft is None else draft.chain([*prompt, *output], wanted, request["threshold"])
            kept = target.length
            winners = target.decode([output[-1], *chain], len(chain) + 1)
            accepted = 0
            while accepted < len(chain) and chain[accepted] == winners[accepted]:
                accepted += 1
            output += winners[: accepted + 1]
            target.forget(kept + 1 + accepted)
            passes, verified = passes + 1, verified + len(chain)
        seconds = time.perf_counter() - started
        return {
            "token_ids": output,
            "seconds": seconds,
            "first_seconds": first_seconds,
            "first_tokens": 1,
            "passes": passes,
            "verified": verified,
            "accepted": count - passes,
        }

    def _draft(self, name: str) -> "LlamaModel":
        if name not in self._drafts:
            self._drafts[name] = self._load(name, "draft", 0)
        return self._drafts[name]

    def _load(self, name: str, role: Role, widen: int) -> "LlamaModel":
        with TemporaryDirectory() as folder:
            path = Path(folder) / f"{role}.gguf"
            export(name, role, path, dtype=self._options["dtype"], widen=widen)
            return LlamaModel(path, self._threads)


class LlamaModel:
    """A model with one sequence of cells.

    Args:
        path: of a GGUF file; it may go once the model is loaded.
    """

    def __init__(self, path: Path, threads: int) -> None:
        options = api.llama_model_default_params()
        options.use_mmap = False
        self._model = api.llama_model_load_from_file(str(path).encode(), options)
        if not self._model:
            raise ValueError(f"llama.cpp cannot load {path.name}")
        settings = api.llama_context_default_params()
        settings.n_ctx = CONTEXT_TOKENS
        settings.n_batch = settings.n_ubatch = BATCH_TOKENS_MAX
        settings.n_threads = settings.n_threads_batch = threads
        self._context = api.llama_init_from_model(self._model, settings)
        self._memory = api.llama_get_memory(self._context)
        self._vocabulary_size = api.llama_vocab_n_tokens(api.llama_model_get_vocab(self._model))
        self._batch = api.llama_batch_init(BATCH_TOKENS_MAX, 0, 1)
        self._tokens: list[int] = []  # those that have cells

    @property
    def length(self) -> int:
        """Tokens that have cells."""
        return len(self._tokens)

    def forget(self, length: int) -> None:
        """Free the cells from position `length` on."""
        if length < self.length:
            api.llama_memory_seq_rm(self._memory, 0, length, -1)
            del self._tokens[length:]

    def decode(self, tokens: list[int], rows: int) -> list[int]:
        """Append tokens; returns the greedy choice after each of the last `rows` of them."""
        winners: list[int] = self._forward(tokens, rows).argmax(axis=1).tolist()
        return winners

    def chain(self, log: list[int], k: int, threshold: float | None) -> list[int]:
        """The greedy chain of up to k tokens after the log, cut where its probability falls below."""
        shared = 0
        for own, wanted in zip(self._tokens, log, strict=False):
            if own != wanted:
                break
            shared += 1
        self.forget(min(shared, len(log) - 1))
        chain: list[int] = []
        fresh = log[self.length :]
        while len(chain) < k:
            logits = self._forward(fresh, 1)[0]
            token = int(logits.argmax())
            if threshold and 1 / np.exp(logits - logits[token]).sum() < threshold:
                break
            chain.append(token)
            fresh = [token]
        return chain

    def _forward(self, tokens: list[int], rows: int) -> Any:
        """[rows, vocabulary] logits of the last rows; more tokens than a batch go in several."""
        for start in range(0, len(tokens), BATCH_TOKENS_MAX):
            part = tokens[start : start + BATCH_TOKENS_MAX]
            batch, past = self._batch, self.length
            first = len(tokens) - rows - start  # of the rows that are wanted
            for index, token in enumerate(part):
                batch.token[index] = token
                batch.pos[index] = past + index
                batch.n_seq_id[index] = 1
                batch.seq_id[index][0] = 0
                batch.logits[index] = index >= first
            batch.n_tokens = len(part)
            if api.llama_decode(self._context, batch):
                raise ValueError(f"llama.cpp could not decode {len(part)} tokens after {past}")
            self._tokens += part
        flat = np.ctypeslib.as_array(
            api.llama_get_logits(self._context), shape=(rows * self._vocabulary_size,)
        )
        return flat.reshape(rows, self._vocabulary_size)
