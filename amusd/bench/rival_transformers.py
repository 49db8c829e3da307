"""`transformers.generate`, alone and with an assistant, as its users call it."""

import time
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, GenerationConfig
from transformers.generation.streamers import BaseStreamer

from amusd.devices import parse_device
from amusd.models.names import Role, find_source, quiet
from amusd.models.packing import has_bfloat16_products
from amusd.models.widening import widen


class TransformersRival:
    """A target, and its drafts as they are asked for.

    Args:
        options: ``device``, ``target``, ``widen`` and ``dtype``.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        device = parse_device(options["device"])
        torch.set_num_threads(max(1, len(device.cores)))
        self._place = "cpu" if device.kind == "cpu" else device.parts[0]
        self._dtype = options["dtype"]
        self._target = load_target(options, self._place)
        attention = self._target.config._attn_implementation
        self.facts = f"{self._target.dtype}, {torch.get_num_threads()} threads, attention {attention}"
        self._drafts: dict[str, Any] = {}
        self._rows: list[int] = []
        self._target.register_forward_pre_hook(self._count_rows, with_kwargs=True)

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Decode one prompt; the answer is a `Run`."""
        prompt, count = request["prompt"], request["tokens"]
        greedy = request["temperature"] == 0
        warps = {} if greedy else {"temperature": request["temperature"], "top_k": 0, "top_p": 1.0}
        settings = _generation(max_new_tokens=count, do_sample=not greedy, pad_token_id=0, **warps)
        assistant = self._assistant(request) if request["draft"] is not None else None
        ids = torch.tensor([prompt], device=self._place)
        clock = _FirstTokens()
        self._rows.clear()
        torch.manual_seed(request["seed"])
        with quiet():
            clock.started = time.perf_counter()
            output = self._target.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                generation_config=settings,
                assistant_model=assistant,
                streamer=clock,
            )
            seconds = time.perf_counter() - clock.started
        tokens = output[0, len(prompt) :].tolist()
        if len(tokens) != count:
            raise ValueError(f"generate wrote {len(tokens)} tokens where {count} were asked for")
        passes = len(self._rows)
        return {
            "token_ids": tokens,
            "seconds": seconds,
            "first_seconds": clock.seconds,
            "first_tokens": clock.tokens,
            "passes": passes,
            # The first pass holds the prompt and the first drafted tokens, each other one a root before them.
            "verified": sum(self._rows) - len(prompt) - (passes - 1),
            "accepted": count - passes,
        }

    def _assistant(self, request: dict[str, Any]) -> Any:
        """The draft, with transformers' own settings but for what was asked."""
        name = request["draft"]
        if name not in self._drafts:
            self._drafts[name] = load_model(name, "draft", self._dtype, self._place)
        draft = self._drafts[name]
        settings: dict[str, Any] = {"eos_token_id": None}
        if request["k"] is not None:
            settings |= {"num_assistant_tokens": request["k"], "num_assistant_tokens_schedule": "constant"}
        if request["threshold"] is not None:
            settings["assistant_confidence_threshold"] = request["threshold"]
        draft.generation_config = _generation(**settings)
        return draft

    def _count_rows(self, _module: nn.Module, _args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._rows.append(kwargs["input_ids"].shape[1])


def load_target(options: dict[str, Any], place: str) -> Any:
    """The target as a rival's options name it, widened as ours is."""
    model = load_model(options["target"], "target", options["dtype"], place)
    if options["widen"]:
        widen(model, options["widen"])
    return model


def load_model(name: str, role: Role, dtype: str, place: str) -> Any:
    """A model in transformers' own form.

    Args:
        place: cpu, or cuda:0.
    """
    source = find_source(name, role)
    with quiet():
        model: Any = AutoModelForCausalLM.from_pretrained(
            source.path, dtype=dtype, local_files_only=source.local_only
        )
    if place == "cpu" and model.dtype == torch.bfloat16 and not has_bfloat16_products():
        model = model.float()  # the same weights, several times faster there
    # No end token: the length of every output is fixed, and nothing is masked for it.
    model.generation_config.eos_token_id = None
    return model.eval().to(place)


class _FirstTokens(BaseStreamer):
    """When the first tokens came, and how many."""

    def __init__(self) -> None:
        self.started = 0.0
        self.seconds = 0.0
        self.tokens = 0
        self._prompt_seen = False

    def put(self, value: torch.Tensor) -> None:
        """Called with the prompt, then with each new token or block."""
        if self._prompt_seen and not self.tokens:
            self.seconds = time.perf_counter() - self.started
            self.tokens = value.numel()
        self._prompt_seen = True

    def end(self) -> None:
        """Nothing is kept back."""


def _generation(**settings: Any) -> GenerationConfig:
    return GenerationConfig(**settings)  # type: ignore[no-untyped-call]
