"""Block verification, by enumeration of every chain and every text."""

from itertools import product

import pytest
import torch

from amusd.sampling.rules import verify_block

from .cases import random_law
from .drawings import TOLERANCE

TOKENS, LENGTH = 3, 3


def model(seed, sharpness=1.0):
    """A random law for each prefix of at most LENGTH tokens."""
    prefixes = [prefix for length in range(LENGTH + 1) for prefix in product(range(TOKENS), repeat=length)]
    return {
        prefix: torch.tensor(random_law(TOKENS, (seed, place), sharpness), dtype=torch.float64)
        for place, prefix in enumerate(prefixes)
    }


def rows(law, chain, count):
    return torch.stack([law[tuple(chain[:place])] for place in range(count)])


def outcomes(target, draft, verify):
    """(chain, chance, BlockLaw) of every chain with a chance."""
    for chain in product(range(TOKENS), repeat=LENGTH):
        chance = 1.0
        for place, token in enumerate(chain):
            chance *= float(draft[chain[:place]][token])
        if chance > 0:
            yield chain, chance, verify(rows(target, chain, LENGTH + 1), rows(draft, chain, LENGTH), chain)


def text_law(target, draft, verify):
    """{text of LENGTH + 1 tokens: probability}, the target going on by itself after what was emitted."""
    found = dict.fromkeys(product(range(TOKENS), repeat=LENGTH + 1), 0.0)
    for chain, chance, law in outcomes(target, draft, verify):
        for accepted in range(LENGTH + 1):
            for text in found:
                if text[:accepted] == chain[:accepted]:
                    part = chance * float(law.accepted[accepted] * law.own[accepted, text[accepted]])
                    for place in range(accepted + 1, LENGTH + 1):
                        part *= float(target[text[:place]][text[place]])
                    found[text] += part
    return found


def error(target, draft, verify):
    found = text_law(target, draft, verify)
    worst = 0.0
    for text, chance in found.items():
        wanted = 1.0
        for place, token in enumerate(text):
            wanted *= float(target[text[:place]][token])
        worst = max(worst, abs(chance - wanted))
    return worst


def one_at_a_time(target_probs, draft_probs, chain):
    """Token verification in the same form."""
    accepted, reached, own = [], 1.0, []
    for place, token in enumerate(chain):
        p, q = target_probs[place], draft_probs[place]
        kept = min(1.0, float(p[token] / q[token]))
        residual = (p - q).clamp(min=0)
        own.append(residual / residual.sum() if residual.sum() > 0 else p)
        accepted.append(reached * (1 - kept))
        reached *= kept
    law = type(verify_block(target_probs, draft_probs, chain))
    return law(torch.tensor([*accepted, reached], dtype=torch.float64), torch.stack([*own, target_probs[-1]]))


PAIRS = [
    (model(1), model(2)),
    (model(3, 3.0), model(4, 3.0)),
    (model(5), model(5)),
    (model(6), {prefix: torch.tensor([0.0, 0.3, 0.7], dtype=torch.float64) for prefix in model(6)}),
    (
        {prefix: torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64) for prefix in model(7)},
        {prefix: torch.tensor([0.2, 0.8, 0.0], dtype=torch.float64) for prefix in model(7)},
    ),
]


@pytest.mark.parametrize("pair", PAIRS)
def test_texts_have_the_targets_law(pair):
    assert error(*pair, verify_block) < TOLERANCE


@pytest.mark.parametrize("pair", PAIRS)
def test_it_accepts_at_least_as_much_as_one_token_at_a_time(pair):
    counts = torch.arange(LENGTH + 1, dtype=torch.float64)

    def mean(verify):
        return sum(chance * float(law.accepted @ counts) for _, chance, law in outcomes(*pair, verify))

    assert mean(verify_block) >= mean(one_at_a_time) - TOLERANCE


def test_it_accepts_more_where_a_token_makes_up_for_another():
    """The paper's example of two tokens: 11/9 accepted of two, 10/9 one at a time."""
    p, q = (torch.tensor(law, dtype=torch.float64) for law in ([1 / 3, 2 / 3], [2 / 3, 1 / 3]))

    def mean(verify):
        total = 0.0
        for chain in product(range(2), repeat=2):
            law = verify(torch.stack([p] * 3), torch.stack([q] * 2), chain)
            total += float(q[list(chain)].prod() * (law.accepted @ torch.arange(3.0, dtype=torch.float64)))
        return total

    assert mean(one_at_a_time) == pytest.approx(10 / 9, abs=TOLERANCE)
    assert mean(verify_block) == pytest.approx(11 / 9, abs=TOLERANCE)


def test_a_block_that_is_judged_with_the_wrong_carry_is_caught():
    def wrong(target_probs, draft_probs, chain):
        law = verify_block(target_probs, draft_probs, chain)
        residual = (target_probs[:-1] - draft_probs).clamp(min=0)  # not scaled by what was carried so far
        own = torch.cat([residual / residual.sum(1, keepdim=True), target_probs[-1:]])
        return type(law)(law.accepted, own)

    assert error(*PAIRS[0], wrong) > 1e-6


def test_the_chances_are_a_law_and_an_empty_chain_leaves_the_targets_own():
    target, draft = PAIRS[0]
    law = verify_block(rows(target, (0, 1, 2), 4), rows(draft, (0, 1, 2), 3), (0, 1, 2))
    assert float(law.accepted.sum()) == pytest.approx(1, abs=TOLERANCE)
    empty = verify_block(target[()][None], torch.empty(0, TOKENS), ())
    assert empty.accepted.tolist() == [1.0]
    assert torch.equal(empty.own[0], target[()] / target[()].sum())


def test_rows_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="needs 2 rows of the target and 1 of the draft"):
        verify_block(torch.ones(1, 2) / 2, torch.ones(1, 2) / 2, [0])
    with pytest.raises(ValueError, match="not drawn from q"):
        verify_block(torch.ones(2, 2) / 2, torch.tensor([[0.0, 1.0]]), [0])
