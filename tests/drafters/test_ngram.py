"""The trie counts right, stays within its bound, and answers by counts."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from amusd.drafters.ngram import GUESSES_MAX, NgramLookup, Trie

TEXTS = st.lists(st.integers(0, 3), min_size=0, max_size=80)
STREAMS = st.lists(st.tuples(st.integers(1, 3), st.lists(st.integers(0, 9), max_size=12)), max_size=30)


def nodes_of(node):
    return sum(1 + nodes_of(child) for child in (node.children or {}).values())


@given(TEXTS, st.integers(1, 4))
def test_a_trie_with_room_counts_every_ngram(text, order):
    trie = Trie(order, 10_000)
    for end in range(1, len(text) + 1):
        assert trie.add(text[:end])
    seen = Counter(
        tuple(text[start:end]) for end in range(1, len(text) + 1) for start in range(max(0, end - order), end)
    )
    assert all(trie.find(ngram).count == count for ngram, count in seen.items())
    assert trie.count == len(seen) == nodes_of(trie._root)


@given(TEXTS, st.integers(1, 4), st.integers(0, 40))
def test_a_trie_never_holds_more_nodes_than_allowed(text, order, nodes_max):
    trie = Trie(order, nodes_max)
    for end in range(1, len(text) + 1):
        trie.add(text[:end])
        assert nodes_of(trie._root) == trie.count <= nodes_max


@given(STREAMS, TEXTS, st.integers(0, 200))
def test_all_tries_together_never_hold_more_nodes_than_allowed(stream, corpus, nodes_max):
    lookup = NgramLookup(corpus, order=3, nodes_max=nodes_max)
    for request in (1, 2, 3):
        lookup.open(request)
    for request, tokens in stream:
        lookup.follow(request, tokens)
        assert sum(nodes_of(trie._root) for trie in lookup._tries()) == lookup.nodes <= nodes_max
        assert all(len(window) <= 3 for window in lookup._windows.values())


@given(STREAMS, st.integers(1, 9))
def test_guesses_are_few_distinct_and_parents_first(stream, depth):
    lookup = NgramLookup(order=3)
    for request in (1, 2, 3):
        lookup.open(request)
    for request, tokens in stream:
        lookup.follow(request, tokens)
    guesses = lookup.guess(1, depth)
    assert len(guesses) <= GUESSES_MAX
    assert len({(parent, token) for parent, token, _ in guesses}) == len(guesses)
    depths = []
    for place, (parent, _, score) in enumerate(guesses):
        assert parent < place and 0 < score < 1
        depths.append(1 if parent < 0 else depths[parent] + 1)
    assert max(depths, default=0) <= depth


def taught(*texts, **settings):
    lookup = NgramLookup(**settings)
    for text in texts:
        lookup.open(1)
        lookup.follow(1, text)
        lookup.close(1)
    return lookup


def test_the_more_frequent_continuation_comes_first():
    lookup = taught([1, 2, 3], [1, 2, 4], [1, 2, 4])
    lookup.open(2)
    lookup.follow(2, [1, 2])
    assert [(token, round(score, 2)) for _, token, score in lookup.guess(2, 1)] == [(4, 0.5), (3, 0.25)]


def test_a_longer_context_decides_against_a_shorter_one():
    lookup = taught([8, 1, 2, 3], [9, 1, 2, 4], [9, 1, 2, 4], [9, 1, 2, 4])
    lookup.open(2)
    lookup.follow(2, [8, 1, 2])
    assert lookup.guess(2, 1)[0][1] == 3


def test_ngrams_do_not_reach_from_one_request_into_another():
    lookup = NgramLookup()
    lookup.open(1)
    lookup.open(2)
    for _ in range(5):
        lookup.follow(1, [1, 2])
        lookup.follow(2, [3])
    lookup.open(3)
    lookup.follow(3, [1, 2])
    assert [token for _, token, _ in lookup.guess(3, 1)] == [1]


def test_a_corpus_teaches_before_anything_was_said_and_is_not_forgotten():
    lookup = NgramLookup([1, 2, 3, 4], order=3, nodes_max=200)
    lookup.open(1)
    for token in range(100, 400):
        lookup.follow(1, [token])
    lookup.follow(1, [1, 2])
    assert lookup.guess(1, 2)[0][1] == 3
    assert "4 tokens of a corpus" in lookup.describe()


def test_what_is_not_said_again_is_forgotten_in_the_end():
    lookup = taught([1, 2, 3], order=3, nodes_max=100)
    lookup.open(1)
    for token in range(100, 400):
        lookup.follow(1, [token])
    lookup.follow(1, [1, 2])
    assert lookup.guess(1, 1) == []
