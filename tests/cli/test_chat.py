"""A conversation in the terminal, with a server that only repeats."""

import io
from dataclasses import replace

import pytest

from amusd.cli import main
from amusd.errors import BusyError, InputError
from amusd.outputs import Chunk, RequestOutput
from tests.cli.fakes import METRICS

SERVED = replace(METRICS, overlap=None, useful_overlap=None)  # as a server tells it


class FakeClient:
    """Answers with what it was told; the newest one is kept."""

    refusal = None
    failures = ()
    made = None
    rule = "race"

    def __init__(self, address, *, token, tls):
        type(self).made = self
        self.address, self.token, self.tls = address, token, tls
        self.prompts = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def info(self):
        return {"model": "demo", "rule": self.rule}

    def chat_prompt(self, messages):
        if self.refusal is not None:
            raise self.refusal
        return messages

    def stream(self, messages, params, **wishes):
        type(self).wishes = wishes
        self.prompts.append(messages)
        if len(self.prompts) in self.failures:
            raise BusyError("too many")
        text = f"{len(messages)}: {messages[-1]['content']}"
        output = RequestOutput(None, (1,), text, (7,), "stop", params.seed or 0, SERVED, ())
        yield Chunk(text, (7,), (False,), ((text, False),), output)


@pytest.fixture
def talk(monkeypatch, capsys):
    """Type lines; returns the exit code, what was answered, and the client."""

    def run(lines, *options, failures=(), refusal=None):
        monkeypatch.setattr("amusd.cli.chat.Client", FakeClient)
        monkeypatch.setattr(FakeClient, "failures", failures)
        monkeypatch.setattr(FakeClient, "refusal", refusal)
        monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
        code = main(["chat", *options])
        captured = capsys.readouterr()
        return code, captured.out.splitlines(), captured.err, FakeClient.made

    return run


def test_each_turn_knows_those_before_it_and_a_new_conversation_none(talk):
    code, answers, _, _ = talk(["hello", "", "again", "/new", "fresh", "/exit", "unheard"])
    assert code == 0
    assert answers == ["1: hello", "3: again", "1: fresh"]


def test_the_system_s_words_come_first_in_every_conversation(talk):
    _, answers, _, client = talk(["hello", "/new", "fresh"], "--system", "Be brief.")
    assert answers == ["2: hello", "2: fresh"]
    assert client.prompts[1][0] == {"role": "system", "content": "Be brief."}


def test_what_failed_was_not_said(talk):
    code, answers, told, _ = talk(["lost", "kept"], failures=(1,))
    assert code == 0
    assert answers == ["1: kept"]
    assert "amusd: too many" in told


@pytest.mark.parametrize(("rule", "said"), [("spechub", True), ("race", False), (None, False)])
def test_a_rule_that_is_exact_only_in_distribution_says_so_after_each_answer(talk, monkeypatch, rule, said):
    monkeypatch.setattr(FakeClient, "rule", rule)
    _, _, told, _ = talk(["hello"])
    assert ("rule spechub: the target's distribution, not its bytes" in told) == said
    assert ("rollbacks" in told) == (rule is not None)


def test_a_server_that_cannot_chat_is_told_apart_at_once(talk):
    refusal = InputError("messages", "demo", "its tokenizer has no chat template")
    code, answers, told, _ = talk(["hello"], refusal=refusal)
    assert (code, answers) == (2, [])
    assert "no chat template" in told


def test_where_the_server_is_and_how_it_is_reached(talk):
    _, _, _, client = talk([], "far:9", "--api-key", "k", "--tls", "ca.pem")
    assert (client.address, client.token, client.tls) == ("far:9", "k", "ca.pem")
    assert talk([], "--tls", "system")[3].tls is True


def test_wishes_go_with_every_question(talk):
    wishes = ("--priority", "-1", "--deadline-seconds", "20", "--num-speculative-tokens", "0")
    _, _, _, client = talk(["hello"], *wishes)
    assert client.wishes == {"priority": -1, "deadline_seconds": 20.0, "num_speculative_tokens": 0}
    assert talk(["hello"])[3].wishes == {}
    code, _, told, _ = talk(["hello"], "--deadline-seconds", "-3")
    assert code == 2
    assert "deadline_seconds: -3.0: give a finite number above 0" in told
