"""Prompt lookup finds what a plain search finds, and copies it."""

from hypothesis import given
from hypothesis import strategies as st

from amusd.drafters.base import LOOKUP_BRANCHES_MAX
from amusd.drafters.prompt_lookup import (
    CANDIDATES_MAX,
    MATCH_MAX,
    SIZES,
    Match,
    PromptLookup,
    SuffixIndex,
    claim,
)

TEXTS = st.lists(st.integers(0, 3), min_size=0, max_size=60)


def plain_matches(text):
    """The same answer by comparing every place with the end of the text."""
    for size in SIZES:
        end = text[len(text) - size :]
        places = [at for at in range(size, len(text)) if len(text) > size and text[at - size : at] == end]
        found = {}
        for at in sorted(places, reverse=True)[:CANDIDATES_MAX]:
            length = size
            while length < min(MATCH_MAX, at) and text[at - length - 1] == text[len(text) - length - 1]:
                length += 1
            if text[at] not in found or length > found[text[at]].length:
                found[text[at]] = Match(at, length)
        if found:
            return sorted(found.values(), key=lambda match: (-match.length, -match.start))
    return []


@given(TEXTS, st.integers(0, 60))
def test_matches_are_those_of_a_plain_search_however_the_text_arrives(text, cut):
    index = SuffixIndex()
    index.extend(text[:cut])
    index.extend(text[cut:])
    assert index.matches() == plain_matches(text)


@given(TEXTS)
def test_what_is_kept_of_a_text_is_bounded_by_its_length(text):
    index = SuffixIndex()
    index.extend(text)
    entries = sum(len(chain) for chain in index._earlier.values()) + sum(map(len, index._latest.values()))
    assert entries <= 2 * len(SIZES) * len(text)


@given(TEXTS, st.integers(1, 9))
def test_guesses_are_few_parents_first_and_begin_with_the_longest_match(text, depth):
    lookup = PromptLookup()
    lookup.open(1)
    lookup.follow(1, text)
    guesses = lookup.guess(1, depth)
    matches = plain_matches(text)[:LOOKUP_BRANCHES_MAX]
    assert len(guesses) == depth * len(matches)
    assert all(parent < place and 0 < score < 1 for place, (parent, _, score) in enumerate(guesses))
    assert [text[match.start] for match in matches] == [token for parent, token, _ in guesses if parent < 0]


def guessed(text, depth=6):
    lookup = PromptLookup()
    lookup.open(1)
    lookup.follow(1, text)
    return [token for _, token, _ in lookup.guess(1, depth)]


def test_what_followed_before_is_guessed_again_of_equal_matches_the_latest_first():
    assert guessed([1, 2, 3, 4, 5, 9, 1, 2, 3], depth=3) == [4, 5, 9]
    assert guessed([7, 1, 2, 3, 4, 8, 1, 2, 3, 5, 6, 1, 2, 3], depth=1) == [5, 4]


def test_a_longer_match_comes_before_a_later_one():
    assert guessed([6, 1, 2, 3, 4, 8, 1, 2, 3, 5, 6, 1, 2, 3], depth=1) == [4, 5]


def test_a_period_goes_on_past_the_end_of_the_text():
    assert guessed([1, 2, 1, 2, 1, 2], depth=5) == [1, 2, 1, 2, 1]


def test_a_text_without_repetition_gives_no_guess():
    assert guessed([1, 2, 3, 4]) == []
    assert guessed([]) == []


def test_longer_matches_claim_more():
    claims = [claim(length) for length in range(1, 80)]
    assert claims == sorted(claims)
    assert 0 < claims[0] < claims[-1] < 1


def test_requests_do_not_see_each_other_and_a_closed_one_is_forgotten():
    lookup = PromptLookup()
    lookup.open(1)
    lookup.open(2)
    lookup.follow(1, [1, 2, 3, 1, 2])
    assert lookup.guess(2, 3) == []
    lookup.close(1)
    lookup.open(1)
    assert lookup.guess(1, 3) == []
