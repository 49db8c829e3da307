"""What `amusd generate` shows, and how it ends."""

import contextlib
import json
import os
import pty
import signal
from dataclasses import asdict
from pathlib import Path

import pytest

from amusd.cli import main, screens
from amusd.cli.generate import one_by_one
from amusd.config import EngineConfig
from amusd.errors import AmusdError, DeviceError, ModelError, ProtocolError, WorkerError
from amusd.logprobs import Logprob
from amusd.outputs import Chunk, RequestOutput
from tests.cli.fakes import METRICS, FakeLLM


class Terminal:
    """A pseudo-terminal as standard output and error; what is shown has its control sequences."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._keyboard, screen = pty.openpty()
        self._stream = os.fdopen(screen, "w", encoding="utf-8")
        monkeypatch.setenv("TERM", "xterm-256color")
        monkeypatch.delenv("NO_COLOR", raising=False)
        monkeypatch.setattr("sys.stdout", self._stream)
        monkeypatch.setattr("sys.stderr", self._stream)

    def shown(self) -> str:
        """Closes the terminal; returns all that was written, at most 4 KiB (what one surely holds)."""
        self._stream.close()
        shown = b""
        # What was written arrives in pieces; once the screen is closed, EIO marks the end.
        with contextlib.suppress(OSError):
            while piece := os.read(self._keyboard, 4096):
                shown += piece
        os.close(self._keyboard)
        return shown.decode()


def test_pipe_gets_the_text_alone_and_stderr_the_summary(
    engines: list[FakeLLM], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", "def f(n):"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "    return n\n"
    assert captured.err.splitlines() == [
        "target: demo on cpu:0",
        "output: 3 tokens, ended by stop, seed 11",
        "speed: 85.2 tokens/s",
        "target passes: 2",
        "acceptance rate (TAR): 71.4%",
        "mean acceptance length: 2.50 tokens",
        "through draft 0: 3 of 5 verified accepted, 1 its alone",
        "through ngram: 2 of 4 verified accepted, 0 its alone",
        "rollbacks: 1",
        "foreseen corrections: 1",
        "stale nodes: 3",
        "both sides computed: 62.5% of the decode time",
        "both usefully: 50.0% of the decode time",
    ]
    assert engines[0].closed


def test_alone_shows_nothing_about_drafts(engines: list[FakeLLM], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "def f(n):", "--mode", "alone"]) == 0
    assert "rollbacks" not in capsys.readouterr().err


def test_a_rule_that_is_exact_only_in_distribution_says_so_in_the_summary(
    engines: list[FakeLLM], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", "def f(n):", "--rule", "spechub"]) == 0
    shown = capsys.readouterr().err
    assert "rule spechub: the target's distribution, not its bytes" in shown
    assert engines[0].config.rule == "spechub"
    assert main(["generate", "def f(n):", "--rule", "topk"]) == 0
    assert "rule" not in capsys.readouterr().err


@pytest.mark.parametrize(("draft", "code"), [("random", 2), ("demo", 0)])
def test_a_rule_that_needs_a_law_refuses_a_draft_without_one(
    draft: str, code: int, engines: list[FakeLLM], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", "def f(n):", "--rule", "rrs", "--draft", draft]) == code
    assert ("amusd: rule: rrs: random has no law to draw from" in capsys.readouterr().err) == bool(code)


def test_json_is_one_object_with_exactly_the_promised_fields(
    engines: list[FakeLLM], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", "def f(n):", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "text": "    return n",
        "token_ids": [7, 8, 9],
        "finish_reason": "stop",
        "seed": 11,
        "rule": "race",
        "exact": "bytes",
        "metrics": {
            "tokens_per_second": METRICS.tokens_per_second,
            "queue_seconds": METRICS.queue_seconds,
            "first_token_seconds": METRICS.first_token_seconds,
            "decode_seconds": METRICS.decode_seconds,
            "acceptance_rate": METRICS.acceptance_rate,
            "mean_acceptance_length": METRICS.mean_acceptance_length,
            "passes": METRICS.passes,
            "drafted": METRICS.drafted,
            "verified": METRICS.verified,
            "accepted": METRICS.accepted,
            "rollbacks": METRICS.rollbacks,
            "corrections": METRICS.corrections,
            "foreseen_corrections": METRICS.foreseen_corrections,
            "stale_nodes": METRICS.stale_nodes,
            "dropped_nodes": METRICS.dropped_nodes,
            "overlap": METRICS.overlap,
            "useful_overlap": METRICS.useful_overlap,
            "depth_verified": list(METRICS.depth_verified),
            "depth_accepted": list(METRICS.depth_accepted),
            "rank_seen": list(METRICS.rank_seen),
            "rank_hits": list(METRICS.rank_hits),
            "drafters": [asdict(each) for each in METRICS.drafters],
            "preemptions": METRICS.preemptions,
        },
    }


@pytest.mark.parametrize(
    ("options", "rule", "exact"),
    [
        (["--rule", "spechub"], "spechub", "distribution"),
        (["--rule", "topk"], "topk", "bytes"),
        (["--rule", "spechub", "--mode", "alone"], None, "bytes"),
    ],
)
def test_json_says_what_the_rule_keeps_of_the_target_alone(
    options: list[str],
    rule: str | None,
    exact: str,
    engines: list[FakeLLM],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["generate", "def f(n):", "--json", *options]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["rule"], found["exact"]) == (rule, exact)


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_what_happened_to_the_draft_worker_is_told_on_stderr(
    options: list[str],
    engines: list[FakeLLM],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    note = "the draft worker stopped answering at token 57 and came back at 103"
    monkeypatch.setattr(FakeLLM, "notes", (note,))
    assert main(["generate", "def f(n):", *options]) == 0
    captured = capsys.readouterr()
    assert note in captured.err
    assert note not in captured.out


def test_only_given_options_reach_the_engine(engines: list[FakeLLM]) -> None:
    assert (
        main(["generate", "def f(n):", "--draft", "demo-large", "--widen", "64", "--trust-remote-code"]) == 0
    )
    assert engines[0].config == EngineConfig(draft="demo-large", widen=64, trust_remote_code=True)


def test_sampling_options_reach_the_request(engines: list[FakeLLM]) -> None:
    lengths = ["--max-tokens", "5", "--stop", "a", "--stop", "b"]
    warps = ["--temperature", "0", "--top-k", "3", "--top-p", "0.5", "--min-p", "0.1", "--seed", "9"]
    assert main(["generate", "x", *lengths, *warps]) == 0
    params = engines[0].params
    assert params is not None
    assert (params.max_tokens, params.temperature, params.top_k) == (5, 0.0, 3)
    assert (params.top_p, params.min_p, params.seed, params.stop) == (0.5, 0.1, 9, ("a", "b"))


def test_max_tokens_is_256_unless_given(engines: list[FakeLLM]) -> None:
    assert main(["generate", "x"]) == 0
    assert engines[0].params is not None
    assert engines[0].params.max_tokens == 256


def test_chat_wraps_the_prompt(engines: list[FakeLLM]) -> None:
    assert main(["generate", "hello", "--chat", "--target", "some/model", "--draft", "none"]) == 0
    assert engines[0].prompt == [ord(character) for character in "<user>hello"]


def test_trace_is_written_where_asked(tmp_path: Path, engines: list[FakeLLM]) -> None:
    file = tmp_path / "run.trace.json"
    assert main(["generate", "x", "--trace", str(file)]) == 0
    assert file.read_text() == "[]"


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (DeviceError("target_devices", "cuda:9", "there is cpu:0-1"), 2),
        (ModelError("model some/model does not exist on the hub; check its name"), 1),
        (WorkerError("draft worker died while loading; its last line was: killed"), 1),
        (ProtocolError("drafter 3 proposed node 5 before its parent 9"), 1),
        (AmusdError("port 5000 is in use; leave the port out"), 1),
    ],
)
def test_failed_start_is_one_line_and_an_exit_code(
    failure: AmusdError,
    code: int,
    engines: list[FakeLLM],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(FakeLLM, "failure", failure)
    assert main(["generate", "x"]) == code
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", f"amusd: {failure}\n")


def test_debug_shows_the_traceback(
    engines: list[FakeLLM], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeLLM, "failure", ModelError("no such model"))
    assert main(["generate", "x", "--debug"]) == 1
    error = capsys.readouterr().err
    assert "Traceback" in error
    assert error.endswith("amusd: no such model\n")


def test_defect_is_one_line_too(
    engines: list[FakeLLM], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeLLM, "failure", ZeroDivisionError("division by zero"))
    assert main(["generate", "x"]) == 1
    error = capsys.readouterr().err
    assert error == "amusd: internal error: ZeroDivisionError: division by zero; --debug shows where\n"


def test_interrupt_closes_the_engine_and_exits_with_130(
    engines: list[FakeLLM], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeLLM, "while_streaming", KeyboardInterrupt())
    assert main(["generate", "x"]) == 130
    assert engines[0].closed


def test_termination_closes_the_engine(engines: list[FakeLLM], monkeypatch: pytest.MonkeyPatch) -> None:
    def show(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("amusd.cli.screens.PlainScreen.show", show)
    with pytest.raises(SystemExit) as ended:
        main(["generate", "x"])
    assert ended.value.code == 143
    assert engines[0].closed


def test_terminal_tells_accepted_draft_tokens_from_the_targets_own(
    engines: list[FakeLLM], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal(monkeypatch)
    assert main(["generate", "def f(n):"]) == 0
    shown = terminal.shown()
    assert "\x1b[1m    \x1b[0m\x1b[32mreturn n\x1b[0m" in shown
    assert "accepted draft tokens" in shown


def test_control_characters_of_a_model_do_not_reach_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal(monkeypatch)
    view = screens.TerminalScreen("race")
    view.show(Chunk("", (), (), (("a\x1b[2Jb\x9bc\td\n", "accepted"),)))
    assert "a\ufffd[2Jb\ufffdc\td" in terminal.shown()


def test_every_option_reaches_the_parameters_by_its_name(engines: list[FakeLLM]) -> None:
    given = {
        "--typical-p": 0.9,
        "--repetition-penalty": 1.1,
        "--presence-penalty": 0.2,
        "--frequency-penalty": 0.3,
        "--min-tokens": 2,
        "--n": 3,
        "--logprobs": 4,
    }
    options = [str(part) for pair in given.items() for part in pair]
    flags = [
        "--include-stop-str-in-output",
        "--ignore-eos",
        "--bad-word",
        "no",
        "--bad-word",
        "not",
        "--json",
    ]
    assert main(["generate", "def f(n):", *options, *flags]) == 0
    params = engines[0].params
    assert params is not None
    for name, value in given.items():
        assert getattr(params, name.removeprefix("--").replace("-", "_")) == value
    assert (params.include_stop_str_in_output, params.ignore_eos) == (True, True)
    assert params.bad_words == ("no", "not")


def test_several_outputs_are_shown_one_after_the_other_however_they_come() -> None:
    def chunk(index: int, text: str, last: bool = False) -> Chunk:
        finished = RequestOutput(None, (1,), text, (2,), "stop", 1, METRICS, index=index) if last else None
        return Chunk(text, (2,), ("own",), ((text, "own"),), finished, index)

    arriving = [
        chunk(1, "b1"),
        chunk(0, "a1"),
        chunk(2, "c1", last=True),
        chunk(1, "b2", last=True),
        chunk(0, "a2"),
        chunk(0, "a3", last=True),
    ]
    shown = one_by_one(iter(arriving))
    assert next(shown).text == "a1"
    assert [each.text for each in shown] == ["a2", "a3", "b1", "b2", "c1"]


def test_json_holds_logprobs_where_they_were_asked_for(
    engines: list[FakeLLM], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {7: Logprob(-0.5, 1, " return")}
    monkeypatch.setattr(FakeLLM, "logprobs", [row])
    assert main(["generate", "def f(n):", "--json", "--logprobs", "1"]) == 0
    shown = json.loads(capsys.readouterr().out)["logprobs"]
    assert shown == [{"7": {"logprob": -0.5, "rank": 1, "decoded_token": " return"}}]
