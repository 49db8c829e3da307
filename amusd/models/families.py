"""Which model families can be run as trees with rollback, and which masks their layers need.

Attention layers, full or with a sliding window, can: their memory is cells. A layer with recurrent state
cannot roll back, because the state before a rejected token is gone.
"""

import inspect
from typing import Any

from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, PreTrainedConfig

from amusd.errors import ModelError
from amusd.models.names import Role

_ATTENTION = {"full_attention", "sliding_attention"}
_RECURRENT = {"linear_attention", "mamba", "mamba2", "recurrent", "conv", "hybrid", "hybrid_sliding", "rwkv"}
# Heads for other tasks, as the last part of an architecture's name; the body alone could still be loaded.
_OTHER_HEADS = ("ForMaskedLM", "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering")


def text_config(config: PreTrainedConfig) -> PreTrainedConfig:
    """The part of a configuration that describes the decoder of text."""
    return config.get_text_config(decoder=True)


def check_supported(config: PreTrainedConfig, name: str, role: Role = "target") -> None:
    """Refuse a model that is no causal LM, or cannot be run as trees with rollback.

    Raises:
        ModelError: names the role, the model, and what it has.
    """
    kind, who = config.model_type, f"{role}: {name}"
    attention = "give a model whose layers are all full or sliding attention"
    positions = "takes no positions, which trees need; give a model that takes position_ids"
    if config.is_encoder_decoder:
        raise ModelError(f"{who}: {kind} is an encoder-decoder; give a causal language model")
    model_class: Any = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    remote = "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or {})
    if model_class is None and not remote:
        raise ModelError(f"{who}: {kind} has no causal language model head; give a causal language model")
    for architecture in config.architectures or ():
        if architecture.endswith(_OTHER_HEADS):
            raise ModelError(f"{who}: its files hold a {architecture}; give a causal language model")
    part = text_config(config)
    layers = set(getattr(part, "layer_types", None) or ())
    recurrent = sorted(layers & _RECURRENT)
    if recurrent or getattr(model_class, "_is_stateful", False):
        layer = " and ".join(recurrent) or kind
        raise ModelError(
            f"{who}: {kind} has {layer} layers, whose recurrent state cannot roll back; {attention}"
        )
    if layers - _ATTENTION:
        other = " and ".join(sorted(layers - _ATTENTION))
        raise ModelError(f"{who}: {kind} has {other} layers, which are not supported; {attention}")
    if getattr(part, "alibi", False):
        raise ModelError(f"{who}: {kind} with ALiBi {positions}")
    if model_class is not None and "position_ids" not in inspect.signature(model_class.forward).parameters:
        raise ModelError(f"{who}: {kind} {positions}")


def mask_windows(config: PreTrainedConfig) -> dict[str, int | None]:
    """The masks that a model needs, by layer type: the window in positions, or None for no window.

    One entry means that the model gets one mask, several that it gets a dict of them. In a window of n a
    token sees itself and the n - 1 positions before it, as in transformers.
    """
    part: Any = text_config(config)
    window = getattr(part, "sliding_window", None)
    kinds = sorted(set(getattr(part, "layer_types", None) or ()))
    if not kinds:
        kinds = ["full_attention" if window is None else "sliding_attention"]
    return {kind: window if kind == "sliding_attention" else None for kind in kinds}
