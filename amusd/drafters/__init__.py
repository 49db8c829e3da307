"""Whatever guesses ahead of a target."""

from collections.abc import Mapping
from typing import Any

from amusd.config import RANDOM_DRAFT, RULES_WITH_Q
from amusd.devices import DeviceSpec
from amusd.drafters.base import Candidates, Drafter, Expansion
from amusd.drafters.random import RandomDrafter
from amusd.errors import InputError

__all__ = ["Candidates", "Drafter", "Expansion", "load_drafter"]


def load_drafter(options: Mapping[str, Any], device: DeviceSpec) -> Drafter:
    """Load the drafter that a worker's options name.

    Args:
        options: model, revision, dtype, trust_remote_code, vocabulary_size, max_model_len, max_requests,
            rule and window, as the deployment gives them.
        device: where it runs; pinning is the caller's.

    Raises:
        AmusdError: the model cannot be loaded, does not fit, or cannot draw by the rule.
    """
    if options["model"] == RANDOM_DRAFT:
        if options["rule"] in RULES_WITH_Q:
            remedy = f"the draft {RANDOM_DRAFT} has no law to draw from; give a model, or race or topk"
            raise InputError("rule", options["rule"], remedy)
        return RandomDrafter(options["vocabulary_size"])
    from amusd.drafters.model import load_model_drafter  # imports torch: policies and tests do without

    return load_model_drafter(options, device)
