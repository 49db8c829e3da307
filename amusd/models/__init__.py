"""Models: loading, KV cells, and the runner that takes many requests' trees through one model."""

from amusd.models.draft_cells import DraftCells, NodeRow
from amusd.models.loading import (
    LoadedModel,
    ModelSpec,
    default_context,
    load_config,
    load_model,
    load_tokenizer,
    wrap_model,
)
from amusd.models.runner import Rows, Runner
from amusd.models.selfcheck import SelfCheck, self_check
from amusd.models.sizes import cells_bytes
from amusd.models.target_cells import TargetCells
from amusd.models.vocabulary import check_vocabularies
from amusd.models.widening import widen

__all__ = [
    "DraftCells",
    "LoadedModel",
    "ModelSpec",
    "NodeRow",
    "Rows",
    "Runner",
    "SelfCheck",
    "TargetCells",
    "cells_bytes",
    "check_vocabularies",
    "default_context",
    "load_config",
    "load_model",
    "load_tokenizer",
    "self_check",
    "widen",
    "wrap_model",
]
