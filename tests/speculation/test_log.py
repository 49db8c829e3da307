import pytest

from amusd.errors import ProtocolError
from amusd.speculation.log import CommitLog, GapError


def test_append_returns_only_what_is_new() -> None:
    log = CommitLog([1, 2])
    assert log.append(2, [3, 4]) == (3, 4)
    assert log.append(1, [2, 3, 4, 5]) == (5,)
    assert tuple(log.tokens) == (1, 2, 3, 4, 5)


def test_a_duplicate_changes_nothing() -> None:
    log = CommitLog([1, 2, 3])
    assert log.append(1, [2]) == ()
    assert log.append(0, [1, 2, 3]) == ()
    assert log.length == 3


def test_a_different_token_at_a_known_position_is_refused_as_a_whole() -> None:
    log = CommitLog([1, 2, 3])
    with pytest.raises(ProtocolError, match="position 2 holds token 3, the sender commits 9"):
        log.append(1, [2, 9, 4])
    assert tuple(log.tokens) == (1, 2, 3)


def test_a_start_beyond_the_end_is_a_gap_that_says_what_is_held() -> None:
    log = CommitLog([1, 2])
    with pytest.raises(GapError) as caught:
        log.append(3, [4])
    assert caught.value.have == 2


def test_nothing_is_appended_after_the_end_and_the_first_reason_stays() -> None:
    log = CommitLog([1])
    log.finish("stop")
    log.finish("abort")
    assert log.final == "stop"
    assert log.append(0, [1]) == ()
    with pytest.raises(ProtocolError, match="after the end"):
        log.append(1, [2])


def test_truncate_reopens_the_log() -> None:
    log = CommitLog([1, 2, 3])
    log.finish("stop")
    log.truncate(2)
    assert log.append(2, [7]) == (7,)


@pytest.mark.parametrize("length", [-1, 0, 4])
def test_truncate_refuses_what_it_cannot_do(length: int) -> None:
    with pytest.raises(ProtocolError):
        CommitLog([1, 2, 3]).truncate(length)


def test_a_log_without_tokens_is_refused() -> None:
    with pytest.raises(ProtocolError, match="at least one"):
        CommitLog([])


def test_a_negative_start_is_refused() -> None:
    with pytest.raises(ProtocolError, match="positions start at 0"):
        CommitLog([1]).append(-1, [1])
