"""Phrases come from rejected tails and corrections, and go after a draft's last token."""

from hypothesis import given
from hypothesis import strategies as st

from amusd.drafters import phrases
from amusd.drafters.phrases import REJECTED_CLAIM, WRITTEN_CLAIM, PhraseBook, Phrases

TEXTS = st.lists(st.integers(0, 5), max_size=40)


def opened(log):
    made = Phrases()
    made.open(1)
    made.follow(1, log)
    return made


def test_a_rejected_tail_is_put_after_a_draft_that_ends_like_its_beginning():
    made = opened([9, 9])
    made.reject(1, [1, 2, 3, 4])
    made.follow(1, [1, 7, 8])
    assert made.lengthen(1, [1, 2], 4) == [(-1, 3, REJECTED_CLAIM), (0, 4, REJECTED_CLAIM)]


def test_what_the_target_wrote_instead_replaces_an_older_phrase():
    made = opened([9, 9])
    made.reject(1, [1, 2, 3])
    made.follow(1, [1, 2, 5, 6])
    assert made.lengthen(1, [1, 2], 1) == [(-1, 5, WRITTEN_CLAIM)]


def test_phrases_follow_each_other_until_there_is_no_room():
    made = opened([1, 2, 3, 4, 5, 6, 1, 2, 3])
    assert [token for _, token, _ in made.lengthen(1, [4], 7)] == [5, 6, 1, 2, 3, 4, 5]
    assert len(made.lengthen(1, [4], 2)) == 2


def test_a_phrase_reaches_over_commits():
    made = opened([1])
    for token in (2, 3, 4, 5, 2, 3, 9):
        made.follow(1, [token])
    assert [token for _, token, _ in made.lengthen(1, [1, 2], 2)] == [3, 4], "not what follows 2, 3 now"


def test_it_begins_no_guess_and_forgets_closed_requests():
    made = opened([1, 2, 1, 2])
    assert made.guess(1, 5) == []
    made.close(1)
    made.open(1)
    assert made.lengthen(1, [1, 2], 3) == []


@given(TEXTS, st.lists(TEXTS, max_size=5), st.integers(1, 9))
def test_a_lengthened_path_is_a_chain_within_its_depth(log, tails, depth):
    made = opened(log)
    for tail in tails:
        made.reject(1, tail)
    guesses = made.lengthen(1, [1, 2], depth)
    assert len(guesses) <= depth
    assert [parent for parent, _, _ in guesses] == list(range(-1, len(guesses) - 1))


@given(st.lists(TEXTS, max_size=20))
def test_a_book_holds_a_bounded_number_of_phrases(texts):
    small, phrases.PHRASES_MAX = phrases.PHRASES_MAX, 7
    try:
        book = PhraseBook()
        for text in texts:
            book.learn(text, 0, 0.5)
            assert len(book) <= 7
    finally:
        phrases.PHRASES_MAX = small
