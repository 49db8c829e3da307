"""Prompts of every kind, and files that cannot be used."""

import json

import pytest

from amusd.bench.prompts import choose_prompts, embedded_prompts, read_prompts
from amusd.errors import InputError


@pytest.fixture
def file(tmp_path):
    def write(*lines):
        path = tmp_path / "prompts.jsonl"
        path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
        return path

    return write


def test_the_embedded_kinds_take_turns():
    assert [prompt.kind for prompt in embedded_prompts()[:6]] == ["code", "copy", "prose"] * 2


def test_a_copy_prompt_holds_its_text_and_the_beginning_of_it_again():
    prompt = next(prompt for prompt in embedded_prompts() if prompt.kind == "copy")
    first, again = prompt.text.split("\n\n\n# The same once more:\n")
    assert again
    assert first.startswith(again)


def test_a_code_prompt_is_not_also_copied():
    by_kind = {kind: {p.name for p in embedded_prompts() if p.kind == kind} for kind in ("code", "copy")}
    assert by_kind["code"] & by_kind["copy"] == set()


def test_prose_has_no_code_in_it():
    for prompt in embedded_prompts():
        if prompt.kind == "prose":
            assert not [line for line in prompt.text.splitlines() if "self." in line or line.endswith(":")]


def test_prompt_and_turns_are_read(file):
    path = file({"prompt": "a", "kind": "poem"}, "", {"turns": ["b", "c"], "category": "qa"}, {"prompt": "d"})
    assert [(prompt.text, prompt.kind) for prompt in read_prompts(path)] == [
        ("a", "poem"),
        ("b", "qa"),
        ("d", "prompt"),
    ]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "line 2: is not JSON"),
        ("[1]", "line 2: is not an object"),
        ({"text": "a"}, "line 2: has neither prompt nor turns"),
        ({"prompt": "a", "turns": ["a"]}, "line 2: has both prompt and turns"),
        ({"prompt": ""}, "line 2: field prompt holds no text"),
        ({"prompt": 3}, "line 2: field prompt holds no text"),
        ({"turns": []}, "line 2: field turns holds no text"),
        ({"turns": "a"}, "line 2: field turns holds no text"),
        ({"prompt": "a", "kind": 3}, "line 2: field kind is 3"),
    ],
)
def test_a_line_that_cannot_be_used_is_named_with_its_field(file, line, complaint):
    with pytest.raises(InputError, match=complaint):
        read_prompts(file({"prompt": "fine"}, line))


def test_an_empty_or_missing_file_is_refused(file, tmp_path):
    with pytest.raises(InputError, match="has no lines"):
        read_prompts(file(""))
    with pytest.raises(InputError, match="cannot be read"):
        read_prompts(tmp_path / "missing.jsonl")


def test_too_few_prompts_are_counted(file):
    with pytest.raises(InputError, match="has 1 prompts, tuning ones included 3 are needed"):
        choose_prompts(file({"prompt": "a"}), 3)
