import pytest

from amusd.speculation.walk import walk


@pytest.mark.parametrize(
    ("tokens", "parents", "winners", "accepted", "emitted"),
    [
        pytest.param([9], [0], [5], (), (5,), id="plain step"),
        pytest.param([9, 1, 2], [0, 0, 1], [1, 2, 3], (1, 2), (1, 2, 3), id="whole chain and a bonus"),
        pytest.param([9, 1, 2], [0, 0, 1], [1, 7, 3], (1,), (1, 7), id="correction"),
        pytest.param([9, 1, 2], [0, 0, 1], [7, 2, 3], (), (7,), id="first node rejected"),
        pytest.param([9, 1, 2, 4], [0, 0, 0, 2], [2, 8, 4, 6], (2, 3), (2, 4, 6), id="second branch"),
        pytest.param([9, 1, 1], [0, 0, 1], [1, 1, 1], (1, 2), (1, 1, 1), id="same token in a row"),
    ],
)
def test_walk_follows_the_targets_own_tokens(
    tokens: list[int],
    parents: list[int],
    winners: list[int],
    accepted: tuple[int, ...],
    emitted: tuple[int, ...],
) -> None:
    result = walk(tokens, parents, winners)
    assert (result.accepted, result.emitted) == (accepted, emitted)


@pytest.mark.parametrize(
    ("tokens", "parents", "winners"), [([], [], []), ([1], [0], []), ([1, 2], [0, 1], [1, 1])]
)
def test_rows_that_are_no_pass_are_refused(tokens: list[int], parents: list[int], winners: list[int]) -> None:
    with pytest.raises(ValueError, match=r"pass|parents"):
        walk(tokens, parents, winners)
