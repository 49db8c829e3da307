"""The decoding loop around llama.cpp: whatever the draft says, the text is the target's.

The library itself is an optional package; here a model is a function from a log to its next token.
"""

import sys
from types import ModuleType

import pytest


class FakeModel:
    """Says the next token of a log by a rule; counts what it decodes."""

    def __init__(self, rule):
        self.rule = rule
        self.tokens = []

    @property
    def length(self):
        return len(self.tokens)

    def forget(self, length):
        del self.tokens[length:]

    def decode(self, tokens, rows):
        self.tokens += tokens
        return [self.rule(self.tokens[: self.length - rows + 1 + row]) for row in range(rows)]

    def chain(self, log, k, threshold):
        found = []
        while len(found) < k:
            found.append(self.rule([*log, *found]))
        return found


def target_rule(log):
    return (7 * log[-1] + len(log)) % 50


@pytest.fixture
def rival(monkeypatch):
    monkeypatch.setitem(sys.modules, "llama_cpp", ModuleType("llama_cpp"))
    monkeypatch.delitem(sys.modules, "amusd.bench.rival_llamacpp", raising=False)
    from amusd.bench.rival_llamacpp import LlamacppRival

    made = LlamacppRival.__new__(LlamacppRival)
    made._target = FakeModel(target_rule)
    made._drafts = {
        "good": FakeModel(target_rule),
        "half": FakeModel(lambda log: target_rule(log) if len(log) % 2 else 51),
        "bad": FakeModel(lambda log: 51),
    }
    yield made
    sys.modules.pop("amusd.bench.rival_llamacpp", None)


def answer(rival, draft, k):
    request = {"prompt": [1, 2, 3], "tokens": 20, "draft": draft, "k": k, "threshold": None}
    return rival.answer(request)


def test_the_text_is_the_targets_with_any_draft_and_k(rival):
    wanted = answer(rival, None, None)["token_ids"]
    log = [1, 2, 3]
    while len(log) < 23:
        log.append(target_rule(log))
    assert wanted == log[3:]
    for draft in ("good", "half", "bad"):
        for k in (1, 3, 30):
            assert answer(rival, draft, k)["token_ids"] == wanted, (draft, k)


def test_passes_and_acceptance_are_counted(rival):
    perfect = answer(rival, "good", 3)
    # The prompt gives one token; 19 are left: four passes of 4, one of 3.
    assert (perfect["passes"], perfect["verified"], perfect["accepted"]) == (6, 14, 14)
    useless = answer(rival, "bad", 3)
    assert (useless["passes"], useless["accepted"]) == (20, 0)
    assert answer(rival, None, None)["verified"] == 0
