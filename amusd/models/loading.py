"""Loading a causal LM and its tokenizer with transformers' own options."""

import copy
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import nn
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
    __version__,
)

from amusd.devices import DeviceSpec
from amusd.errors import InputError, ModelError
from amusd.models import sizes
from amusd.models.attention import install
from amusd.models.byte_packing import bears_bytes, has_byte_packing, pack_in_bytes
from amusd.models.families import check_supported, mask_windows, text_config
from amusd.models.lean import ROWS_MULTIPLE, LeanDecoder, lean_decoder
from amusd.models.names import Role, Source, find_source, quiet
from amusd.models.packing import has_bfloat16_products, pack
from amusd.models.widening import widen

Dtype = Literal["bfloat16", "float32", "auto"]


CONTEXT_DEFAULT = 2048  # positions
POSITIONS_CHECKED = 256  # by the self-check, whatever the context; a table of rotations has to hold them
ROUNDING_BYTES = 7  # of a weight, while a model is in half precision, in float32 and in bytes
ROUNDED_SHARE_MIN = 0.8  # of the weights that a step reads; less is not worth float32 for the others
REASON_CHARACTERS_MAX = 200  # of other people's error messages, some of which are a page long


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What to load.

    Attributes:
        name: `demo`, `demo-small`, `demo-large`, a folder, or a hub id.
        dtype: of the weights; `auto` is the checkpoint's own. A CPU without bfloat16 products computes with
            bfloat16 weights in float32: several times faster, and the cells are float32 too. A draft on a CPU
            whose type is left at `auto` is rounded to int8 where that changes little (`byte_packing`).
        revision: hub branch, tag or commit.
        trust_remote_code: run model code that comes with the checkpoint.
        quantization: transformers' `quantization_config`.
        widen: FFN size to widen the model to, 0 to leave it (see `amusd.models.widening`).
        lean: run layers that are understood completely in fewer operations (`lean`), and on a CPU lay the
            weights out once for faster products (`packing`, `byte_packing`).
        role: names the option in errors, and picks the model behind `demo`.
    """

    name: str
    dtype: Dtype = "auto"
    revision: str | None = None
    trust_remote_code: bool = False
    quantization: dict[str, Any] | None = None
    widen: int = 0
    lean: bool = True
    role: Role = "target"


@dataclass(slots=True)
class LoadedModel:
    """A model that is ready to run, and what others need to know about it.

    Attributes:
        name: as the user wrote it.
        model: transformers' model, in evaluation mode; with `lean`, its layers are gone.
        lean: what runs instead of its layers, or None.
        dtype: of cells and logits.
        weights_dtype: what the weights were rounded to; `dtype` is wider where that is faster.
        in_bytes: its products have weights of one byte each (`byte_packing`); `dtype` is float32 then.
        device: where inputs go (the first of several).
        vocabulary_size: columns of the logits, padding included.
        context: positions that the model has, None for no limit.
        layers: number of layers.
        end_tokens: tokens that end a text: of the generation configuration and of the tokenizer.
        windows: the masks that its layers need (`families.mask_windows`).
        packed_layers: linear layers whose weights are packed.
        exact: passes can agree bit for bit; False: exact up to rounding (`inexact_because` says why).
        role: what it was loaded as, for errors.
    """

    name: str
    model: Any
    dtype: torch.dtype
    device: torch.device
    vocabulary_size: int
    context: int | None
    layers: int
    end_tokens: frozenset[int]
    windows: dict[str, int | None] = field(default_factory=dict)
    packed_layers: int = 0
    exact: bool = True
    inexact_because: str = ""
    role: Role = "target"
    lean: LeanDecoder | None = None
    weights_dtype: torch.dtype | None = None
    in_bytes: bool = False

    @property
    def rows_multiple(self) -> int:
        """Rows of a pass are a multiple of this, so that its products' bits do not depend on their number."""
        if self.role == "draft":
            return 1  # a guess need not be exact
        return ROWS_MULTIPLE if self.lean is None else self.lean.rows_multiple

    def describe_dtype(self) -> str:
        """The weights' type, and what is computed with them if that is another."""
        own, weights = (str(each).removeprefix("torch.") for each in (self.dtype, self.weights_dtype))
        if self.in_bytes:
            return f"{weights} weights rounded to int8"
        return own if self.weights_dtype in (None, self.dtype) else f"{weights} weights computed in {own}"

    @property
    def config(self) -> PreTrainedConfig:
        """The model's configuration."""
        config: PreTrainedConfig = self.model.config
        return config

    def cells_bytes(self, slots: int, cells: int) -> int:
        """Bytes of all cells when each of `slots` slots holds `cells` cells."""
        return sizes.cells_bytes(self.config, slots, cells, self.dtype, block=1)


def load_model(
    spec: ModelSpec, devices: DeviceSpec, *, slots: int = 1, context: int | None = None, spare_cells: int = 0
) -> LoadedModel:
    """Load a model onto its device, after checking that it can be run and fits with its cells.

    Args:
        spec: what to load.
        devices: CPU cores (pinning is the caller's), or GPUs; over several the layers are spread.
        slots, context, spare_cells: sizes of the cells to count; no context counts none.

    Raises:
        InputError: a name, revision or option that cannot be used.
        ModelError: a model that cannot be run, does not fit, or whose files are broken.
    """
    source = find_source(spec.name, spec.role, spec.revision)
    config = load_config(spec, source)
    weights_dtype = _dtype(spec, config)
    dtype = _computed_dtype(spec, weights_dtype, devices)
    check_options(spec, config, context)
    if spec.quantization is None and getattr(config, "quantization_config", None) is None:
        cells = sizes.cells_bytes(config, slots, context, dtype, spare_cells=spare_cells) if context else 0
        weights, remedy = _weights_bytes(spec, config, dtype), "lower max_model_len"
        if spec.role == "draft":
            remedy += " or max_requests"
        sizes.check_fits(f"{spec.role}: {spec.name}", devices, weights, cells, remedy)
    model = _load_weights(spec, source, weights_dtype, devices)
    if spec.widen:
        widen(model, spec.widen)
    cells = sizes.cells_bytes(config, slots, context or 0, torch.float32, spare_cells=spare_cells)
    # A copy, for `to` rounds float32 buffers too, such as the frequencies of rotations.
    in_bytes = _may_be_rounded(spec, devices, model, cells) and bears_bytes(copy.deepcopy(model).float())
    computed = torch.float32 if in_bytes else dtype
    if computed != weights_dtype:
        model = model.to(computed)
    loaded = wrap_model(model, spec.name, end_tokens=_end_tokens(spec, source, model), role=spec.role)
    loaded.weights_dtype, loaded.in_bytes = weights_dtype, in_bytes
    if spec.lean:
        streamline(loaded, context or default_context(config))
    return loaded


def streamline(loaded: LoadedModel, context: int) -> None:
    """Make a model's passes cheaper: lean layers where they are understood, packed weights on a CPU.

    Args:
        context: positions that will be used.
    """
    model = loaded.model
    loaded.lean = lean_decoder(model, max(context, POSITIONS_CHECKED))
    if loaded.in_bytes:
        loaded.packed_layers = pack_in_bytes(loaded.lean or model)
    elif loaded.device.type == "cpu":
        # A small plain float32 product is quicker to call, and a draft need not be exact.
        loaded.packed_layers = pack(loaded.lean or model, small=loaded.role != "draft")
    if loaded.lean is not None:
        loaded.lean.on_packed()
        model.model.layers = nn.ModuleList()
        model.lm_head = None


def default_context(config: PreTrainedConfig, wanted: int | None = None) -> int:
    """As many of the wanted positions as the model has; at most 2,048 where the caller names none."""
    wanted = wanted or CONTEXT_DEFAULT
    limit: int | None = getattr(text_config(config), "max_position_embeddings", None)
    return min(wanted, limit or wanted)


def check_options(spec: ModelSpec, config: PreTrainedConfig, context: int | None) -> None:
    """Refuse what a model of this configuration is not large, or small, enough for.

    Args:
        context: positions that are wanted, None where the caller names none.

    Raises:
        InputError: max_model_len or widen.
    """
    limit = getattr(text_config(config), "max_position_embeddings", None)
    if context is not None and limit is not None and context > limit:
        raise InputError(
            "max_model_len",
            context,
            f"the {spec.role} {spec.name} holds {limit} positions; give at most that",
        )
    if not spec.widen:
        return
    if spec.quantization is not None:
        raise InputError("widen", spec.widen, "a quantized model cannot be widened; drop one of the two")
    if spec.widen < sizes.ffn_size(config):
        own = f"the FFNs of the {spec.role} {spec.name} have {sizes.ffn_size(config)} neurons already"
        remedy = f"{own}; give at least that"
        raise InputError("widen", spec.widen, remedy)


def load_config(spec: ModelSpec, source: Source | None = None) -> PreTrainedConfig:
    """Read a model's configuration and check that the model can be run.

    Raises:
        InputError: no such model.
        ModelError: not a causal LM, or one whose layers cannot roll back.
    """
    source = source or find_source(spec.name, spec.role, spec.revision)
    try:
        with quiet():
            config: PreTrainedConfig = AutoConfig.from_pretrained(source.path, **_options(spec, source))
    except Exception as error:  # other people's files raise errors of many kinds
        raise ModelError(f"{spec.role}: {spec.name}: {_config_problem(spec, source, error)}") from error
    check_supported(config, spec.name, spec.role)
    return config


def wrap_model(
    model: Any, name: str = "model", end_tokens: frozenset[int] | None = None, role: Role = "target"
) -> LoadedModel:
    """Make a transformers model that is already in memory ready to run.

    Raises:
        ModelError: a model that cannot be run.
    """
    check_supported(model.config, name, role)
    install(model)
    model.eval()
    part = text_config(model.config)
    exact, reason = _choose_experts(model)
    return LoadedModel(
        name=name,
        model=model,
        dtype=model.get_input_embeddings().weight.dtype,
        device=model.get_input_embeddings().weight.device,
        vocabulary_size=part.vocab_size,
        context=getattr(part, "max_position_embeddings", None),
        layers=part.num_hidden_layers,
        end_tokens=_token_set(model.generation_config.eos_token_id) if end_tokens is None else end_tokens,
        windows=mask_windows(model.config),
        exact=exact,
        inexact_because=reason,
        role=role,
    )


def load_tokenizer(
    name: str, role: Role = "target", *, revision: str | None = None, trust_remote_code: bool = False
) -> PreTrainedTokenizerBase:
    """Load the tokenizer that comes with a model.

    Raises:
        InputError: no such model.
        ModelError: the model has no tokenizer.
    """
    spec = ModelSpec(name, role=role, revision=revision, trust_remote_code=trust_remote_code)
    source = find_source(name, role, revision)
    try:
        with quiet():
            tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
                source.path, **_options(spec, source)
            )
    except Exception as error:  # other people's files raise errors of many kinds
        raise ModelError(
            f"{role}: {name}: its tokenizer cannot be loaded; give a model with its tokenizer's files, "
            f"such as tokenizer.json ({_one_line(error)})"
        ) from error
    return tokenizer


# -- the steps of load_model ---------------------------------------------------------------------


def _dtype(spec: ModelSpec, config: PreTrainedConfig) -> torch.dtype:
    if spec.dtype == "auto":
        dtype = getattr(config, "dtype", None) or getattr(text_config(config), "dtype", None)
        return dtype if isinstance(dtype, torch.dtype) else torch.float32
    chosen: torch.dtype = getattr(torch, spec.dtype)
    return chosen


def _computed_dtype(spec: ModelSpec, weights: torch.dtype, devices: DeviceSpec) -> torch.dtype:
    half = weights in (torch.bfloat16, torch.float16)
    if half and devices.kind == "cpu" and spec.quantization is None and not has_bfloat16_products():
        return torch.float32
    return weights


def _may_be_rounded(spec: ModelSpec, devices: DeviceSpec, model: Any, cells: int) -> bool:
    """Whether to try products of bytes: for a draft on a CPU, its type not named, with room for the try.

    Args:
        cells: bytes that the cells will take.
    """
    if spec.role != "draft" or spec.dtype != "auto" or not spec.lean:
        return False
    if devices.kind != "cpu" or getattr(model, "is_quantized", False) or not has_byte_packing():
        return False
    weights = model.num_parameters()
    streamed = sum(layer.weight.numel() for layer in model.modules() if type(layer) is nn.Linear)
    if streamed < ROUNDED_SHARE_MIN * (weights - model.get_input_embeddings().weight.numel()):
        return False
    return bool(sizes.available_bytes(devices) > ROUNDING_BYTES * weights + cells)


def _weights_bytes(spec: ModelSpec, config: PreTrainedConfig, dtype: torch.dtype) -> int:
    if getattr(config, "auto_map", None):
        return 0  # code that comes with the checkpoint is run once, when it is loaded
    return sizes.weights_bytes(config, dtype, spec.widen)


def _load_weights(spec: ModelSpec, source: Source, dtype: torch.dtype, devices: DeviceSpec) -> Any:
    who = f"{spec.role}: {spec.name}"
    options = _options(spec, source) | {"dtype": dtype, "output_loading_info": True}
    if devices.kind == "cuda":
        options["device_map"] = "auto" if len(devices.indices) > 1 else {"": devices.indices[0]}
        options["max_memory"] = {index: torch.cuda.mem_get_info(index)[0] for index in devices.indices}
    if spec.quantization is not None:
        options["quantization_config"] = spec.quantization
    try:
        with quiet():
            loaded: Any = AutoModelForCausalLM.from_pretrained(source.path, **options)
    except Exception as error:  # other people's files raise errors of many kinds
        raise ModelError(
            f"{who}: its weights cannot be loaded ({_one_line(error)}); check its files and its options"
        ) from error
    model, info = loaded
    if info["missing_keys"]:
        names = sorted(info["missing_keys"])
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        raise ModelError(f"{who}: its files lack {names[0]}{more}; give a causal language model")
    placed = {str(place) for place in getattr(model, "hf_device_map", {}).values()}
    if placed & {"cpu", "disk"} and devices.kind == "cuda":
        raise ModelError(f"{who}: does not fit on {devices}; take more devices or a smaller model")
    return model


def _choose_experts(model: Any) -> tuple[bool, str]:
    """Pick the experts' implementation whose rows do not depend on each other, where there are experts."""
    part = text_config(model.config)
    counts = (getattr(part, name, None) for name in ("num_experts", "num_local_experts", "n_routed_experts"))
    if not any(counts):
        return True, ""
    if model._can_set_experts_implementation():
        try:
            model.set_experts_implementation("batched_mm")
        except (ValueError, ImportError) as error:
            return False, f"its experts cannot run as batched_mm: {_one_line(error)}"
        return True, ""
    return False, "its experts run as one product per expert, whose rows depend on what else was routed there"


def _end_tokens(spec: ModelSpec, source: Source, model: Any) -> frozenset[int]:
    generation: GenerationConfig = model.generation_config
    own = _token_set(generation.eos_token_id) | _token_set(text_config(model.config).eos_token_id)
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(source.path, **_options(spec, source))
    except (OSError, ValueError, KeyError):
        return own  # weights without a tokenizer: the worker needs none, the coordinator says so
    return own | _token_set(tokenizer.eos_token_id)


def _options(spec: ModelSpec, source: Source) -> dict[str, Any]:
    return {
        "revision": spec.revision or "main",
        "trust_remote_code": spec.trust_remote_code,
        "local_files_only": source.local_only,
    }


def _token_set(tokens: int | list[int] | None) -> frozenset[int]:
    if tokens is None:
        return frozenset()
    return frozenset([tokens] if isinstance(tokens, int) else tokens)


def _config_problem(spec: ModelSpec, source: Source, error: Exception) -> str:
    """Why transformers makes no configuration of these files, and what to do about it."""
    values: Any = None
    with suppress(OSError, ValueError, TypeError), quiet():
        values, _ = PreTrainedConfig.get_config_dict(source.path, **_options(spec, source))
    if isinstance(values, dict):
        own_code, kind = values.get("auto_map"), values.get("model_type")
        if isinstance(own_code, dict) and "AutoConfig" in own_code:
            if not spec.trust_remote_code:
                return (
                    "it comes with its own code; set trust_remote_code if you trust it, or give another model"
                )
        elif not isinstance(kind, str):
            return "its config.json names no model_type; give a causal language model"
        elif kind not in CONFIG_MAPPING:
            return (
                f"transformers {__version__} does not know its model_type {kind}; "
                "update transformers, or give another model"
            )
    return f"its config.json cannot be used ({_one_line(error)}); mend it, or give another model"


def _one_line(error: BaseException) -> str:
    said = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return said if len(said) <= REASON_CHARACTERS_MAX else f"{said[:REASON_CHARACTERS_MAX]}..."
