"""Lean layers: what is understood gives transformers' logits, what is not runs transformers' code."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from amusd.models import Runner, TargetCells, wrap_model
from amusd.models import lean as lean_module
from amusd.models.lean import ROWS_MULTIPLE, lean_decoder
from amusd.models.loading import streamline
from amusd.models.packing import has_packing
from tests.models.families import FAMILIES, LEAN, VOCABULARY, loaded_model, plain_model, random_tokens


@pytest.mark.parametrize("family", FAMILIES)
def test_only_families_that_are_understood_are_lean(family: str) -> None:
    assert (lean_decoder(plain_model(family), context=64) is not None) == (f"{family}-lean" in LEAN)


@pytest.mark.parametrize("family", LEAN)
def test_a_tree_pass_gives_the_logits_of_transformers_code(family: str) -> None:
    prompt, drafted, parents = random_tokens(30, seed=1), random_tokens(6, seed=2), [0, 1, 0, 3, 3, 5]
    logits = []
    for name in (family, family.removesuffix("-lean")):
        cells = TargetCells(Runner(loaded_model(name), slots=1, context=64))
        cells.prefill(cells.open(), prompt)
        logits.append(cells.forward([cells.plan(0, prompt[-1], drafted, parents)])[0])
    torch.testing.assert_close(*logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "rope",
    [
        {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4},
        {
            "rope_type": "llama3",
            "factor": 4.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
            "rope_theta": 1e4,
        },
    ],
    ids=["linear", "llama3"],
)
def test_scaled_rotations_are_followed(rope: dict[str, object]) -> None:
    assert lean_decoder(llama(rope_parameters=rope), context=128) is not None


def test_rotations_that_depend_on_the_length_are_left_to_transformers() -> None:
    rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}
    assert lean_decoder(llama(rope_parameters=rope), context=128) is None


def test_biases_everywhere_are_followed() -> None:
    model = llama(attention_bias=True, mlp_bias=True)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter)
    assert lean_decoder(model, context=64) is not None


def test_a_model_that_computes_something_else_keeps_its_own_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(lean_module._ACTIVATIONS, "silu", torch.relu)
    assert lean_decoder(llama(), context=64) is None


def test_the_original_code_still_works_on_the_fused_weights() -> None:
    model, ids = llama(), torch.tensor([random_tokens(9, seed=3)])
    with torch.inference_mode():
        before = model(input_ids=ids).logits
        assert lean_decoder(model, context=64) is not None
        assert torch.equal(model(input_ids=ids).logits, before)


@pytest.mark.skipif(not has_packing(), reason="this torch has no packed products")
def test_only_a_model_whose_every_product_is_packed_takes_single_rows() -> None:
    packed = wrap_model(llama())
    streamline(packed, context=64)
    assert packed.rows_multiple == 1
    plain = wrap_model(llama())
    plain.lean = lean_decoder(plain.model, context=64)
    assert plain.rows_multiple == ROWS_MULTIPLE


def llama(**more: object) -> LlamaForCausalLM:
    torch.manual_seed(5)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.3,
        **more,
    )
    return LlamaForCausalLM(config).eval()


def test_products_take_as_many_rows_as_all_requests_have(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = loaded_model("llama-lean", torch.bfloat16)
    assert loaded.lean is not None and loaded.rows_multiple == ROWS_MULTIPLE
    cells = TargetCells(Runner(loaded, slots=5, context=64))
    for slot in range(5):
        cells.prefill(cells.open(), random_tokens(9 + slot, seed=slot))
    taken: list[int] = []
    forward = loaded.lean.forward

    def counted(ids: torch.Tensor, *others: object, **more: object) -> torch.Tensor | None:
        taken.append(len(ids))
        return forward(ids, *others, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(loaded.lean, "forward", counted)
    plans = [
        cells.plan(slot, 5, [6] * drafted, range(drafted)) for slot, drafted in enumerate((0, 3, 0, 0, 5))
    ]
    logits = cells.forward(plans)
    assert [len(part) for part in logits] == [1, 4, 1, 1, 6]
    assert taken == [16], "13 rows, not five times eight"


def test_a_prompt_stops_where_the_last_layer_has_written_its_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, prompt = loaded_model("llama-lean"), random_tokens(30, seed=1)
    assert loaded.lean is not None
    ran: list[int] = []
    for place, product in enumerate(loaded.lean.products):
        spied = partial(_spied, ran, place, product.forward)
        monkeypatch.setattr(product, "forward", spied)
    snapshots = []
    for head in (True, False):
        cells = TargetCells(Runner(loaded, slots=1, context=64))
        ran.clear()
        logits = cells.prefill(cells.open(), prompt, head=head)
        assert (logits is not None) == head
        snapshots.append(cells.runner.cells.snapshot(0, range(len(prompt) - 1)))
    assert ran == list(range(len(loaded.lean.products) - 3)), "attention's output and FFN are left out"
    for ours, theirs in zip(*snapshots, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def _spied(
    ran: list[int], place: int, forward: Callable[[torch.Tensor], torch.Tensor], rows: torch.Tensor
) -> torch.Tensor:
    ran.append(place)
    return forward(rows)
