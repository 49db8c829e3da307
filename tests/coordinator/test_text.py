"""Text appears in whole characters and never holds a part of a stop string."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amusd.coordinator.text import TextStream
from amusd.models import load_tokenizer

texts = st.text(alphabet="ab \n:()€日🙂é", max_size=30)


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer("demo")


def stream(tokenizer, text, stop=(), **options):
    """The pieces that each token released, the end included, and the stream itself."""
    out = TextStream(tokenizer, tokenizer.encode("x = "), stop, **options)
    pieces = []
    for token in tokenizer.encode(text):
        pieces.append("".join(piece for piece, _ in out.push(token, "own")))
        if out.stopped:
            break
    pieces.append("".join(piece for piece, _ in out.finish()))
    return pieces, out


@given(text=texts)
def test_the_pieces_add_up_to_the_text(tokenizer, text):
    pieces, out = stream(tokenizer, text)
    assert "".join(pieces) == out.text == text
    assert not any("�" in piece for piece in pieces)


@given(text=texts, stop=st.lists(st.text(alphabet="ab :(", min_size=1, max_size=4), min_size=1, max_size=3))
def test_the_text_ends_before_the_first_stop_string(tokenizer, text, stop):
    pieces, out = stream(tokenizer, text, stop)
    assert out.stopped == any(s in text for s in stop)
    assert "".join(pieces) == out.text
    assert not any(s in out.text for s in stop)
    if not out.stopped:
        assert out.text == text
    else:
        assert any(text.startswith(out.text + s) for s in stop)


def test_text_that_may_become_a_stop_string_is_held_back(tokenizer):
    out = TextStream(tokenizer, tokenizer.encode("x"), ("abc",))
    released = [p for c in "ab" for t in tokenizer.encode(c) for p, _ in out.push(t, "own")]
    assert released == []
    assert "".join(p for t in tokenizer.encode("d") for p, _ in out.push(t, "own")) == "abd"


def test_a_token_is_cut_where_a_stop_string_may_begin(tokenizer):
    [token] = tokenizer.encode("self")
    out = TextStream(tokenizer, tokenizer.encode("x = "), ("lfx", "zzz"))
    assert out.push(token, "accepted") == [("se", "accepted")]
    assert [span for t in tokenizer.encode("y") for span in out.push(t, "own")] == [
        ("lf", "accepted"),
        ("y", "own"),
    ]


def test_the_earliest_of_several_stop_strings_in_one_token_counts(tokenizer):
    [token] = tokenizer.encode("self")
    out = TextStream(tokenizer, tokenizer.encode("x = "), ("f", "e", "l"))
    assert out.push(token, "own") == [("s", "own")]
    assert out.stopped


def test_an_unfinished_character_is_replaced_at_the_end(tokenizer):
    first_bytes = tokenizer.encode("🙂")[:1]
    out = TextStream(tokenizer, tokenizer.encode("x"), ())
    assert [p for t in first_bytes for p in out.push(t, "own")] == []
    assert "".join(p for p, _ in out.finish()) == "�"


def test_pieces_keep_their_origin_when_they_are_cut(tokenizer):
    out = TextStream(tokenizer, tokenizer.encode("x"), ("b",))
    spans = [span for t in tokenizer.encode("aab") for span in out.push(t, "accepted")]
    assert "".join(text for text, _ in spans) == "aa"
    assert {origin for _, origin in spans} == {"accepted"}


stops = st.lists(st.text(alphabet="ab :(", min_size=1, max_size=4), min_size=1, max_size=3)


@given(text=texts, stop=stops)
def test_a_stop_string_that_is_kept_ends_the_text(tokenizer, text, stop):
    _, without = stream(tokenizer, text, stop)
    pieces, out = stream(tokenizer, text, stop, include_stop=True)
    assert "".join(pieces) == out.text
    assert out.stopped_by == without.stopped_by
    assert out.text == without.text + (out.stopped_by or "")


@given(text=texts, stop=stops, min_tokens=st.integers(0, 12))
def test_a_stop_string_counts_once_a_token_after_min_tokens_completes_it(tokenizer, text, stop, min_tokens):
    pieces, out = stream(tokenizer, text, stop, min_tokens=min_tokens)
    assert "".join(pieces) == out.text
    early, _ = stream(tokenizer, text)
    free = len("".join(early[:min_tokens]))  # characters that were whole with so many tokens
    ends = [i + len(s) for s in stop for i in range(len(text)) if text.startswith(s, i)]
    assert out.stopped == any(end > free for end in ends)
    if out.stopped:
        assert text.startswith(out.text + out.stopped_by)
        assert len(out.text + out.stopped_by) > free
    else:
        assert out.text == text


def test_special_tokens_are_in_the_text_only_if_they_are_wanted(tokenizer):
    [special] = tokenizer.all_special_ids[:1]
    for skip, expected in ((True, ""), (False, tokenizer.decode([special]))):
        out = TextStream(tokenizer, tokenizer.encode("x"), (), skip_special=skip)
        assert "".join(piece for piece, _ in [*out.push(special, "own"), *out.finish()]) == expected
