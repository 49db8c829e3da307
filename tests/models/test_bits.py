"""Every family against itself, bit for bit in bfloat16: shapes of passes, neighbours, chunks, rollbacks."""

from collections.abc import Iterator, Sequence

import pytest
import torch
from torch import Tensor

from amusd.models import Runner, TargetCells, self_check
from amusd.models import runner as runner_module
from tests.models.families import MODELS, loaded_model, random_tokens

PROMPT = 42  # 41 cells are prefilled: every chunk size leaves a tail that is padded
STEPS = 12
EXPERTS = ("mixtral", "qwen2-moe")


def new_cells(family: str, slots: int = 1, dtype: torch.dtype = torch.bfloat16) -> TargetCells:
    return TargetCells(Runner(loaded_model(family, dtype), slots=slots, context=128))


def chain(
    cells: TargetCells,
    slot: int,
    tokens: Sequence[int],
    width: int,
    others: Sequence[int] = (),
    beside: int = 3,
) -> Tensor:
    """[tokens, vocabulary] logits of known tokens fed `width` a pass, all accepted, beside other slots.

    These have `beside` rows each, and one of them comes later in the pass.
    """
    parts = []
    for done in range(0, len(tokens), width):
        fed = list(tokens[done : done + width])
        plans = [cells.plan(other, 5, range(6, 5 + beside), range(beside - 1)) for other in others]
        place = len(others) // 2
        plans.insert(place, cells.plan(slot, fed[0], fed[1:], range(len(fed) - 1)))
        parts.append(cells.forward(plans)[place])
        cells.keep(slot, range(1, len(fed)))
    return torch.cat(parts)


def snapshot(cells: TargetCells, slot: int) -> Iterator[Tensor]:
    """The written cells of a slot, all layers."""
    for keys, values in cells.runner.cells.snapshot(slot, range(cells.length(slot) - 1)):
        yield from (keys, values)


def same_cells(a: Iterator[Tensor], b: Iterator[Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("family", MODELS)
def test_bits_depend_on_no_width_batch_or_neighbour(family: str, dtype: torch.dtype) -> None:
    prompt, fed = random_tokens(PROMPT, seed=1), random_tokens(STEPS, seed=2)
    alone = new_cells(family, dtype=dtype)
    slot = alone.open()
    alone.prefill(slot, [*prompt, fed[0]])
    reference = chain(alone, slot, fed, width=1)
    for width in (2, 4, 6, STEPS):
        alone.truncate(slot, PROMPT + 1)
        assert torch.equal(chain(alone, slot, fed, width), reference), f"{width} rows a pass"
    together = new_cells(family, slots=3, dtype=dtype)
    others = [together.open(), together.open()]
    slot = together.open()
    together.prefill(others[0], random_tokens(90, seed=3))
    together.prefill(others[1], random_tokens(7, seed=4))
    together.prefill(slot, [*prompt, fed[0]])
    assert torch.equal(chain(together, slot, fed, 3, others), reference), "beside ragged neighbours"
    for width, beside in ((1, 1), (4, 1), (5, 2), (1, 7)):
        together.truncate(slot, PROMPT + 1)
        logits = chain(together, slot, fed, width, others, beside)
        assert torch.equal(logits, reference), f"{width} rows beside {beside} of each other request"
    assert together.close(0) == slot, "the last slot's content moves into the hole"
    together.truncate(0, PROMPT + 1)
    assert torch.equal(chain(together, 0, fed, 4, [1]), reference), "in a slot that it moved into"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("family", MODELS)
def test_prefill_in_chunks_writes_the_cells_of_one_prefill_and_of_decoding(
    family: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = Runner(loaded_model(family, dtype), slots=1, context=128)
    if family in EXPERTS and not self_check(runner).prefill:
        return  # routers and experts are plain products, which some CPUs round by their size: it was said
    prompt = random_tokens(PROMPT, seed=5)
    whole = new_cells(family, dtype=dtype)
    slot = whole.open()
    whole.prefill(slot, prompt)
    for rows in (4, 12, 16):
        monkeypatch.setattr(runner_module, "CHUNK_ROWS", rows)
        chunked = new_cells(family, dtype=dtype)
        chunked.prefill(chunked.open(), prompt)
        assert same_cells(snapshot(whole, slot), snapshot(chunked, 0)), f"{rows} rows a chunk"
    decoded = new_cells(family, dtype=dtype)
    decoded.prefill(decoded.open(), prompt[:9])
    chain(decoded, 0, prompt[8:-1], width=1)
    assert same_cells(snapshot(whole, slot), snapshot(decoded, 0))


@pytest.mark.parametrize("family", MODELS)
def test_after_rollbacks_cells_equal_a_fresh_prefill_of_the_same_prefix(family: str) -> None:
    log = random_tokens(PROMPT, seed=6)
    wrong = random_tokens(8, seed=7)
    cells = new_cells(family)
    slot = cells.open()
    cells.prefill(slot, log)
    for accepted in (0, 3, 1, 7, 0, 2):
        drafted = random_tokens(accepted, seed=accepted) + wrong[accepted:]
        cells.forward([cells.plan(slot, log[-1], drafted, range(len(drafted)))])
        cells.keep(slot, range(1, accepted + 1))
        log += [*drafted[:accepted], 9]
    cells.truncate(slot, len(log) - 2)
    fresh = new_cells(family)
    fresh.prefill(fresh.open(), log[:-2])
    assert same_cells(snapshot(cells, slot), snapshot(fresh, 0))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_bits_survive_growth_beyond_a_block(dtype: torch.dtype) -> None:
    """A neighbour that needs a second block lengthens everybody's attended range."""
    prompt, fed = random_tokens(PROMPT, seed=1), random_tokens(STEPS, seed=2)
    cells = TargetCells(Runner(loaded_model("llama", dtype), slots=2, context=256, spare_cells=600))
    slot, other = cells.open(), cells.open()
    cells.prefill(slot, [*prompt, fed[0]])
    reference = chain(cells, slot, fed, width=4)
    cells.truncate(slot, PROMPT + 1)
    cells.prefill(other, random_tokens(200, seed=3))
    far = cells.plan(other, 5, [], [])
    far.cells, far.ancestors = [700], [[700]]
    near = cells.plan(slot, fed[0], fed[1:], range(STEPS - 1))
    assert cells.runner.cells.cells == 512
    assert torch.equal(cells.forward([near, far])[0], reference)
    assert cells.runner.cells.cells == 1024
