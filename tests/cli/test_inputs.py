"""Bad input: one line that names the field, the value and the remedy, exit code 2, nothing started."""

import io
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from amusd.cli import main
from tests.cli.fakes import FakeLLM


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line that a refused command prints."""
    assert main([str(argument) for argument in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err.removesuffix("\n").removeprefix("amusd: ")


@pytest.mark.parametrize(
    ("options", "field", "value", "remedy"),
    [
        (["--temperature", "-0.5"], "temperature", "-0.5", "0 (greedy) or more"),
        (["--temperature", "nan"], "temperature", "nan", "finite"),
        (["--temperature", "inf"], "temperature", "inf", "finite"),
        (["--temperature", "hot"], "--temperature", "hot", "give a number"),
        (["--top-p", "0"], "top_p", "0.0", "above 0 and at most 1"),
        (["--top-p", "1.01"], "top_p", "1.01", "above 0 and at most 1"),
        (["--top-p", "nan"], "top_p", "nan", "above 0 and at most 1"),
        (["--min-p", "2"], "min_p", "2.0", "from 0 to 1"),
        (["--top-k", "-2"], "top_k", "-2", "1 or more, or 0"),
        (["--max-tokens", "0"], "max_tokens", "0", "1 or more"),
        (["--max-tokens", "-3"], "max_tokens", "-3", "1 or more"),
        (["--max-tokens", "many"], "--max-tokens", "many", "give a whole number"),
        (["--seed", "-1"], "seed", "-1", "from 0 to 9223372036854775807"),
        (["--seed", str(2**63)], "seed", str(2**63), "from 0 to 9223372036854775807"),
        (["--typical-p", "0"], "typical_p", "0.0", "above 0 and at most 1"),
        (["--repetition-penalty", "0"], "repetition_penalty", "0.0", "above 0"),
        (["--presence-penalty", "3"], "presence_penalty", "3.0", "from -2 to 2"),
        (["--frequency-penalty", "x"], "--frequency-penalty", "x", "give a number"),
        (["--min-tokens", "300"], "min_tokens", "300", "at most max_tokens, which is 256"),
        (["--n", "0"], "n", "0", "from 1 to 128"),
        (["--n", "2", "--temperature", "0"], "n", "2", "all outputs are the same"),
        (["--logprobs", "21", "--json"], "logprobs", "21", "from 0 to 20"),
        (["--logprobs", "2"], "--logprobs", "2", "only --json shows them"),
        (["--bad-word", ""], "bad_words", "''", "at least one character"),
        (["--stop", ""], "stop", "''", "at least one character"),
        (["--launcher", "slurm"], "launcher", "slurm", "give one of ray, local, inprocess"),
        (["--mode", "turbo"], "mode", "turbo", "give one of async, sync, alone, amusd, pearl"),
        (["--dtype", "int4"], "dtype", "int4", "give one of auto, bfloat16, float32"),
        (["--target-devices", "gpu:0"], "target_devices", "gpu:0", "cuda:0"),
        (["--target-devices", "cpu:"], "target_devices", "cpu:", "cpu:0"),
        (["--draft-devices", "cpu:3-1"], "draft_devices", "cpu:3-1", "1-3"),
        (["--draft-devices", "cuda:0,cuda:0"], "draft_devices", "cuda:0,cuda:0", "twice"),
        (["--target", ""], "target", "''", "give a Hugging Face id, a path, or demo"),
        (["--draft", ""], "draft", "''", "give a Hugging Face id, a path, demo, "),
        (["--draft-devices", " "], "draft_devices", "' '", "give cpu:CORES"),
        (["--ray-address", ""], "ray_address", "''", "give host:port, or auto"),
        (["--draft", "none", "--mode", "async"], "mode", "async", "use mode alone"),
        (["--draft", "none", "--mode", "sync"], "mode", "sync", "use mode alone"),
        (["--target", "some/model"], "draft", "(not given)", "tokenizer of some/model, or none"),
        (
            ["--num-speculative-tokens", "0"],
            "num_speculative_tokens",
            "0",
            "give a whole number from 1 to 64",
        ),
        (["--max-model-len", "1"], "max_model_len", "1", "give a whole number of 2 or more"),
        (["--max-requests", "257"], "max_requests", "257", "give a whole number from 1 to 256"),
        (["--widen", "-1"], "widen", "-1", "1 or more, or 0 to turn it off"),
        (["--launcher", "local", "--ray-address", "auto"], "ray_address", "auto", "only the ray launcher"),
        (["--trace", "/no/such/folder/t.json"], "--trace", "/no/such/folder/t.json", "create it first"),
        (["--trace", "/"], "--trace", "/", "name a file in it"),
    ],
)
def test_refused_value_names_field_value_and_remedy(
    options: list[str],
    field: str,
    value: str,
    remedy: str,
    engines: list[FakeLLM],
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = refused(capsys, "generate", "def f():", *options)
    assert field in line
    assert f": {value}: " in line
    assert remedy in line
    assert not engines


def test_empty_prompt_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, "generate", "") == "prompt: '': is empty; give at least one character"


def test_prompt_and_prompt_file_together_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "prompt.txt"
    file.write_text("def f():")
    assert "give one of the two" in refused(capsys, "generate", "def f():", "--prompt-file", file)


def test_missing_prompt_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "none.txt"
    line = refused(capsys, "generate", "--prompt-file", file)
    assert line == f"--prompt-file: {file}: cannot be read (No such file or directory); check the path"


def test_folder_as_prompt_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "Is a directory" in refused(capsys, "generate", "--prompt-file", tmp_path)


def test_empty_prompt_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "prompt.txt"
    file.touch()
    assert f"--prompt-file: {file}: is empty" in refused(capsys, "generate", "--prompt-file", file)


def test_prompt_file_that_is_not_utf8_names_the_byte(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "latin1.txt"
    file.write_bytes("na\N{LATIN SMALL LETTER I WITH DIAERESIS}ve".encode("latin-1"))
    line = refused(capsys, "generate", "--prompt-file", file)
    assert line.startswith(f"--prompt-file: {file}: is not UTF-8 (byte 0xef at offset 2)")


def test_prompt_argument_that_is_not_utf8_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    # How Python hands on a byte of the command line that is not UTF-8.
    assert "is not UTF-8" in refused(capsys, "generate", "na\udcefve")


def test_without_prompt_in_a_terminal_the_ways_to_give_one_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    assert "--prompt-file" in refused(capsys, "generate")


def test_piped_bytes_that_are_not_utf8_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"ab\xff")))
    assert "(standard input): is not UTF-8 (byte 0xff at offset 2)" in refused(capsys, "generate")


def test_an_empty_pipe_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO()))
    assert "prompt: (standard input): is empty" in refused(capsys, "generate")


def test_piped_text_is_the_prompt(monkeypatch: pytest.MonkeyPatch, engines: list[FakeLLM]) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("été\n".encode())))
    assert main(["generate"]) == 0
    assert engines[0].prompt == [ord(character) for character in "été\n"]


def test_prompt_file_is_taken_as_it_is(tmp_path: Path, engines: list[FakeLLM]) -> None:
    file = tmp_path / "prompt.txt"
    file.write_bytes(b"a\r\nb \n")
    assert main(["generate", "--prompt-file", str(file)]) == 0
    assert engines[0].prompt == [ord(character) for character in "a\r\nb \n"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["hello", "--chat"], "chat: demo: the tokenizer has no chat template"),
        (["x" * 16], "prompt: 16 tokens: at most 15 leave room for output"),
    ],
)
def test_what_only_the_tokenizer_can_tell_is_refused_before_an_engine_is_made(
    arguments: list[str], message: str, engines: list[FakeLLM], capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refused(capsys, "generate", *arguments)
    assert engines == []


@pytest.mark.parametrize("arguments", [["frob"], ["generate", "a", "b"], ["generate", "a", "--wdth", "3"]])
def test_wrong_usage_is_one_line_and_says_where_help_is(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert "--help" in refused(capsys, *arguments)


def test_refusal_as_a_process() -> None:
    command = [sys.executable, "-m", "amusd", "generate", "x", "--top-p", "7"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "amusd: top_p: 7.0: give a number above 0 and at most 1\n"
