import pytest

from amusd.errors import ProtocolError
from amusd.speculation.ledger import Ledger
from amusd.speculation.messages import ORIGINS, Commit, Final, Have, RequestId

REQUEST = RequestId(7)


def commit(start: int, *tokens: int, incarnation: int = 1, final: Final | None = None) -> Commit:
    return Commit(REQUEST, incarnation, start, tokens, tuple(ORIGINS[token % 3] for token in tokens), final)


@pytest.fixture
def ledger() -> Ledger:
    return Ledger(REQUEST, [10, 11])


def test_a_token_is_delivered_once_with_its_origin(ledger: Ledger) -> None:
    assert ledger.on_commit(commit(2, 1, 2)).tokens == (1, 2)
    again = ledger.on_commit(commit(2, 1, 2, 3))
    assert (again.tokens, again.origins) == ((3,), ("own",))
    assert ledger.on_commit(commit(2, 1, 2, 3)).tokens == ()
    assert tuple(ledger.tokens) == (10, 11, 1, 2, 3)


def test_a_gap_is_answered_with_what_the_ledger_has(ledger: Ledger) -> None:
    assert ledger.on_commit(commit(3, 5)).have == Have(REQUEST, 2)
    assert tuple(ledger.tokens) == (10, 11)


@pytest.mark.parametrize("incarnation", [1, 2])
def test_another_token_at_a_delivered_position_is_refused_from_any_incarnation(
    ledger: Ledger, incarnation: int
) -> None:
    ledger.on_commit(commit(2, 1, 2))
    with pytest.raises(ProtocolError, match="position 3"):
        ledger.on_commit(commit(3, 9, incarnation=incarnation))
    assert tuple(ledger.tokens) == (10, 11, 1, 2)


def test_a_restarted_target_goes_on_from_prompt_plus_ledger(ledger: Ledger) -> None:
    ledger.on_commit(commit(2, 1, 2))
    assert ledger.reopen() == (10, 11, 1, 2)
    assert ledger.on_commit(commit(4, 3, incarnation=2)).tokens == (3,)


def test_nobody_speaks_for_a_target_that_is_gone(ledger: Ledger) -> None:
    ledger.on_commit(commit(2, 1))
    ledger.reopen()
    assert ledger.on_commit(commit(3, 2)).tokens == ()
    assert ledger.length == 3


def test_there_is_one_final_and_what_comes_after_it_is_ignored(ledger: Ledger) -> None:
    assert ledger.on_commit(commit(2, 1, final="stop")).final == "stop"
    assert ledger.on_commit(commit(3, 4, final="length")).tokens == ()
    assert (tuple(ledger.tokens), ledger.final) == ((10, 11, 1), "stop")


def test_an_end_before_what_was_delivered_is_refused(ledger: Ledger) -> None:
    ledger.on_commit(commit(2, 1, 2))
    with pytest.raises(ProtocolError, match="ends at 3, 4 tokens"):
        ledger.on_commit(commit(2, 1, incarnation=2, final="stop"))
