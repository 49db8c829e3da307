"""Each rule emits the target's law exactly, whatever was drafted."""

import pytest
import torch

from amusd.errors import InputError
from amusd.sampling import rules

from .cases import CASES
from .drawings import DRAWINGS, check_lossless

LAWFUL = [rule for rule in rules.RULES.values() if rule.name != "race"]
by_name = pytest.mark.parametrize("rule", LAWFUL, ids=lambda rule: rule.name)
NOISE = torch.zeros(4, 10)


@by_name
@pytest.mark.parametrize("case", CASES)
def test_laws_weighed_with_their_drawings_add_up_to_the_targets_law(rule, case):
    p, q = CASES[case]
    for k in (1, 2, 3, 4):
        if k <= (rule.max_siblings or k) and len(q) ** k <= 130:
            check_lossless(rule.law, p, q, DRAWINGS[rule.name](q, k))


@by_name
def test_a_draft_with_the_targets_law_is_always_accepted(rule):
    p = torch.tensor(CASES["equal"][0], dtype=torch.float64)
    if rule.needs_q:
        for drafts in DRAWINGS[rule.name](p.tolist(), 1):
            assert float(rule.law(p, p, drafts)[drafts[0]]) == pytest.approx(1, abs=1e-12)


@by_name
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_the_law_has_the_dtype_of_the_target_and_agrees_with_float64(rule, dtype):
    p, q = (torch.tensor(law, dtype=dtype) for law in CASES["random 5 tokens, sharpness 1.0"])
    for drafts in DRAWINGS[rule.name](q.tolist(), 2):
        law = rule.law(p, q, drafts)
        assert law.dtype == dtype
        if rule.needs_q:
            exact = rule.law(p.double(), q.double(), drafts)
            assert torch.equal(law, exact.to(dtype))


@by_name
def test_what_is_never_drawn_is_refused(rule):
    p = q = torch.tensor([0.5, 0.3, 0.2, 0.0])
    for drafts in ([], [3], [4], [-1]):
        with pytest.raises(ValueError, match=rule.name):
            rule.law(p, q, drafts)
    if rule.name not in ("rrs", "kseq"):
        with pytest.raises(ValueError, match=rule.name):
            rule.law(p, q, [0, 0])
    if rule.max_siblings is not None:
        with pytest.raises(ValueError, match=f"1 to {rule.max_siblings}"):
            rule.law(p, q, [0, 1, 2])


def test_spechub_refuses_a_pair_without_the_hub():
    p = q = torch.tensor([0.5, 0.3, 0.2])
    with pytest.raises(ValueError, match="without the hub 0"):
        rules.get("spechub").law(p, q, [1, 2])


def test_the_law_of_the_race_is_an_error_that_explains_itself():
    p = torch.tensor([0.5, 0.5])
    with pytest.raises(ValueError, match="a function of p and of the noise"):
        rules.get("race").law(p, p, [0])


def test_rules_are_found_by_name_and_an_unknown_name_names_them():
    assert [rules.get(name).name for name in rules.RULES] == list(rules.RULES)
    with pytest.raises(InputError, match="rule: hub: give one of race, topk, rejection"):
        rules.get("hub")
