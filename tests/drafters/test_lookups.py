"""The lookups of one target together, over its real endpoint."""

from random import Random

import pytest

from amusd.drafters.base import LOOKUP_BRANCHES_MAX
from amusd.drafters.ngram import NgramLookup
from amusd.drafters.phrases import Phrases
from amusd.drafters.prompt_lookup import PromptLookup
from amusd.errors import InputError
from amusd.policies.choices import Choice
from amusd.speculation.target import TargetEndpoint
from amusd.workers.lookups import READ_TOKENS_MAX, Lookups, load_lookups
from tests.speculation.pair import chain

DEPTH = 5


def opened(log, *lookups, length_max=2000, speculative=True):
    endpoint, made = TargetEndpoint(1, vocabulary_size=100), Lookups(lookups)
    endpoint.on_open(1, log, len(log), length_max, frozenset(), speculative=speculative)
    made.open(1)
    return endpoint, made


def guessed(endpoint):
    return [node.token for node in endpoint.tree(1).nodes()]


def test_a_long_prompt_is_read_in_turns_and_all_of_it_before_the_first_guess():
    prompt = [1, 2, 3, *[9] * READ_TOKENS_MAX, 1, 2]
    endpoint, lookups = opened(prompt, PromptLookup())
    index = lookups._lookups[-1]._indexes[1]
    lookups.read(1, endpoint.log(1).tokens)
    assert index.tokens == prompt[:READ_TOKENS_MAX]
    lookups.guess(endpoint, 1, 1)
    assert index.tokens == prompt
    assert guessed(endpoint) == [3]


def test_a_commit_is_read_before_the_next_guess():
    endpoint, lookups = opened([1, 2, 3, 4, 7], PromptLookup())
    lookups.guess(endpoint, 1, DEPTH)
    assert guessed(endpoint) == []
    endpoint.on_verified(1, [], [], [2])
    lookups.guess(endpoint, 1, 2)
    assert guessed(endpoint) == [3, 4]


def test_what_a_row_costs_and_what_a_guess_is_worth_say_how_deep_is_guessed():
    hung = {}
    for price, worth in ((0.0, 0.9), (0.9, 0.9), (0.9, 0.6)):
        endpoint, lookups = opened([1, 2, 3, 4, 5, 1, 2], PromptLookup())
        lookups.guess(endpoint, 1, DEPTH, price, lambda drafter, score, worth=worth: worth)
        hung[price, worth] = guessed(endpoint)
    assert hung == {(0.0, 0.9): [3, 4, 5, 1, 2], (0.9, 0.9): [3, 4, 5, 1, 2], (0.9, 0.6): [3]}


def test_several_guess_into_one_tree_and_each_has_a_name():
    endpoint, lookups = opened([1, 2, 3, 1, 2, 3, 1, 2], PromptLookup(), NgramLookup())
    lookups.guess(endpoint, 1, 1)
    [node] = endpoint.tree(1).nodes()
    assert {lookups.names()[drafter] for drafter, _ in node.aliases} == {"prompt-lookup", "ngram"}
    assert len(lookups.describe()) == 2


def test_nothing_is_guessed_that_the_length_would_cut():
    endpoint, lookups = opened([1, 2, 3, 1, 2], PromptLookup(), length_max=7)
    lookups.guess(endpoint, 1, DEPTH)
    assert len(guessed(endpoint)) == endpoint.room(1) == 1


def test_nothing_is_guessed_for_a_request_without_drafts_but_others_learn_from_its_text():
    ngram = NgramLookup()
    endpoint, lookups = opened([1, 2, 3, 1, 2], PromptLookup(), ngram, Phrases(), speculative=False)
    lookups.guess(endpoint, 1, DEPTH)
    lookups.lengthen(endpoint, 1, chain(endpoint, DEPTH), DEPTH)
    assert guessed(endpoint) == []
    ngram.open(2)
    ngram.follow(2, [1, 2])
    assert [token for _, token, _ in ngram.guess(2, 1)] == [3]


def test_one_that_never_helps_is_asked_less():
    endpoint, lookups = opened([1, 2, 1], PromptLookup())
    drafted = []
    for step in range(200):
        before = endpoint.stats(1).drafted
        lookups.guess(endpoint, 1, 1)
        drafted.append(endpoint.stats(1).drafted > before)
        token = 1 if step % 2 else 3 + step % 97  # what follows a 1 is always new
        lookups.learn(1, endpoint.on_verified(1, [], [], [token]).guesses)
    assert sum(drafted[:40]) > 2 * sum(drafted[-40:])


def test_the_nodes_of_lookups_stay_bounded_whatever_is_written():
    chance = Random(3)
    endpoint, lookups = opened([chance.randrange(3) for _ in range(300)], PromptLookup(), NgramLookup())
    most = 0
    for _ in range(400):
        lookups.guess(endpoint, 1, DEPTH)
        most = max(most, endpoint.tree(1).count)
        endpoint.on_verified(1, [], [], [chance.randrange(3)])
    assert 0 < most <= 2 * LOOKUP_BRANCHES_MAX * DEPTH * DEPTH


def test_phrases_lengthen_the_chain_that_is_about_to_be_verified():
    endpoint, lookups = opened([1, 2, 3, 4, 5, 1], PromptLookup(), Phrases())
    lookups.guess(endpoint, 1, 2)
    best = chain(endpoint, DEPTH)
    assert [node.token for node in best] == [2, 3]
    lookups.lengthen(endpoint, 1, best, DEPTH)
    assert [node.token for node in chain(endpoint, DEPTH)] == [2, 3, 4, 5, 1]


def test_a_rejected_tail_becomes_a_phrase():
    endpoint, lookups = opened([8, 9], Phrases())
    lookups.guess(endpoint, 1, DEPTH)
    endpoint.on_guess(-9, 1, [(-1, 1, 0.9), (0, 2, 0.9), (1, 3, 0.9)])
    choice = Choice(chain(endpoint, DEPTH), range(3), [0.9] * 3)
    verified = endpoint.on_verified(1, choice.nodes, choice.parents, [1, 7, 0, 0])
    lookups.reject(1, choice, verified.accepted_rows)
    endpoint.on_guess(-9, 1, [(-1, 1, 0.9), (0, 2, 0.9)])
    lookups.guess(endpoint, 1, DEPTH)
    lookups.lengthen(endpoint, 1, chain(endpoint, DEPTH), DEPTH)
    assert [node.token for node in chain(endpoint, DEPTH)] == [1, 2, 3]


def test_without_lookups_nothing_happens():
    endpoint, lookups = opened([1, 2, 3])
    lookups.guess(endpoint, 1, DEPTH)
    lookups.learn(1, ())
    lookups.close(1)
    lookups.close(1)
    assert guessed(endpoint) == [] and not lookups.can_lengthen


def test_names_become_lookups_and_a_corpus_is_read_with_the_targets_tokenizer(tmp_path):
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("def f(a, b):\n    return a + b\n", encoding="utf-8")
    options = {"model": "demo", "revision": None, "trust_remote_code": False}
    made = load_lookups(options | {"lookups": ["prompt-lookup", f"ngram:{corpus}", "phrases"]}, 2048)
    assert list(made.names().values()) == ["prompt-lookup", "ngram", "phrases"]
    assert "tokens of a corpus" in made.describe()[1]
    with pytest.raises(InputError, match=r"^draft: ngram:/no/such: its corpus cannot be read"):
        load_lookups(options | {"lookups": ["ngram:/no/such"]}, 2048)
