"""The invariants are known to fail when the core is broken on purpose; unbroken it passes in test_machine."""

from collections.abc import Sequence
from typing import Any

import pytest

from amusd.errors import ProtocolError
from amusd.speculation.attachment import Lane
from amusd.speculation.drafter import DrafterEndpoint
from amusd.speculation.ledger import Ledger
from amusd.speculation.links import Links
from amusd.speculation.log import CommitLog
from amusd.speculation.messages import Commit, RequestId
from amusd.speculation.tree import Advance, SpeculationTree, TreeNode

from .chaos import walk

WALKS = 60
FAILURES = (AssertionError, ProtocolError, ValueError, KeyError)


def assert_some_walk_fails() -> None:
    for seed in range(WALKS):
        try:
            walk(seed)
        except FAILURES:
            return
    raise AssertionError(f"{WALKS} walks did not notice")


def assert_a_conflict_is_refused() -> None:
    ledger = Ledger(RequestId(1), [5, 6])
    ledger.on_commit(Commit(RequestId(1), 1, 2, (7,), ("own",), None))
    with pytest.raises(ProtocolError):
        ledger.on_commit(Commit(RequestId(1), 1, 2, (8,), ("own",), None))


def test_the_unbroken_core_refuses_a_conflict() -> None:
    assert_a_conflict_is_refused()


def test_stale_check_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child of a parent that is gone hangs off the root instead of being dropped."""
    resolve = Lane.resolve
    monkeypatch.setattr(Lane, "resolve", lambda self, parent, root: resolve(self, parent, root) or root)
    with pytest.raises(AssertionError):
        for seed in range(WALKS):
            walk(seed)


def test_late_children_are_taken_without_looking_at_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(self: Lane, parent: int, root: TreeNode) -> TreeNode | int | None:
        return root if parent < 0 else self.live.get(parent)  # type: ignore[call-overload]

    monkeypatch.setattr(Lane, "resolve", resolve)
    with pytest.raises(AssertionError):
        for seed in range(WALKS):
            walk(seed)


def test_re_root_keeps_a_wrong_child(monkeypatch: pytest.MonkeyPatch) -> None:
    advance = SpeculationTree.advance

    def wrong(self: SpeculationTree, tokens: Sequence[int]) -> Advance:
        children = self.root.children
        if tokens and children and tokens[0] not in children:
            children[tokens[0]] = children.pop(next(iter(children)))
        return advance(self, tokens)

    monkeypatch.setattr(SpeculationTree, "advance", wrong)
    assert_some_walk_fails()


def test_re_root_keeps_the_siblings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SpeculationTree, "_drop_below", lambda self, top: [])
    assert_some_walk_fails()


def test_window_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DrafterEndpoint, "room", lambda self, request: 100)
    assert_some_walk_fails()


def test_aliases_survive_their_drafter(monkeypatch: pytest.MonkeyPatch) -> None:
    def detach(self: Links, drafter: Any) -> None:
        self._links.pop(drafter, None)

    monkeypatch.setattr(Links, "detach", detach)
    assert_some_walk_fails()


def test_conflict_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CommitLog, "_check_known", lambda self, position, token: None)
    with pytest.raises(pytest.fail.Exception):
        assert_a_conflict_is_refused()
