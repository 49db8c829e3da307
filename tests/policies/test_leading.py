"""What a drafter leaves undone for its price, and how soon it tries again."""

from hypothesis import example, given
from hypothesis import strategies as st

from amusd.policies.leading import LOOKUP_SHARE, NOTHING, PAUSE_MAX, ROOT_ONLY, Leads, worth_hanging

R = 1
PRICE, SURE, DOUBTFUL = 0.5, 0.5, 0.49


def leads():
    made = Leads()
    made.open(R)
    return made


def pause(of):
    """How many commits pass until something is tried."""
    waited = 0
    while of.least_reach(R, PRICE, DOUBTFUL) == NOTHING:
        of.on_commit(R, None)
        waited += 1
    assert of.least_reach(R, PRICE, DOUBTFUL) == ROOT_ONLY
    return waited


@given(st.lists(st.sampled_from([None, True, False]), max_size=8), st.floats(0, 1))
def test_at_price_0_nothing_is_held_back(commits, prospect):
    made = leads()
    for hit in commits:
        made.on_commit(R, hit)
    assert made.least_reach(R, 0.0, prospect) == 0


def test_pauses_double_while_trials_fail_and_get_short_again_when_they_succeed():
    made, pauses = leads(), []
    for hit in (False, False, False, False, False, True, True, False):
        pauses.append(pause(made))
        made.on_commit(R, hit)
    assert pauses == [1, 2, 4, 8, 16, 16, 4, 1]
    assert pause(made) == 2


def test_a_trial_lasts_until_the_guess_is_there():
    made = leads()
    pause(made)
    for _ in range(3):
        made.on_commit(R, None)
        assert made.least_reach(R, PRICE, DOUBTFUL) == ROOT_ONLY
    made.on_commit(R, False)
    assert made.least_reach(R, PRICE, DOUBTFUL) == NOTHING


def test_whoever_is_worth_the_price_is_drafted_for_two_tokens_beyond_a_pass_and_pauses_begin_anew():
    made = leads()
    for _ in range(5):
        pause(made)
        made.on_commit(R, False)
    assert made.least_reach(R, PRICE, SURE) == PRICE**3
    assert pause(made) == 1


def test_a_request_that_is_opened_again_has_no_past():
    made = leads()
    for _ in range(3):
        pause(made)
        made.on_commit(R, False)
    made.close(R)
    made.close(R)
    assert not made._trials
    made.open(R)
    assert pause(made) == 1


@given(
    st.lists(st.tuples(st.sampled_from([None, True, False]), st.floats(0, 1), st.floats(0, 2)), max_size=80)
)
@example([(False, 0.0, 2.0)] * 120)
def test_however_useless_a_request_is_tried_after_a_bounded_pause(commits):
    made, untried = leads(), 0
    for hit, prospect, price in commits:
        tried = made.least_reach(R, price, prospect) != NOTHING
        untried = 0 if tried else untried + 1
        assert untried <= PAUSE_MAX
        made.on_commit(R, hit if tried else None)


GUESSES = st.lists(st.tuples(st.integers(-1, 7), st.integers(0, 9), st.floats(0.01, 1)), max_size=8).map(
    lambda drawn: [
        (min(parent, place - 1), token, score) for place, (parent, token, score) in enumerate(drawn)
    ]
)


def reaches(guesses):
    """Of each guess, by scores."""
    found = {-1: 1.0}
    for place, (parent, _, score) in enumerate(guesses):
        found[place] = found[parent] * score
    return [found[place] for place in range(len(guesses))]


def paths(guesses):
    """The tokens from the root down to each guess."""
    found = {-1: ()}
    for place, (parent, token, _) in enumerate(guesses):
        found[place] = (*found[parent], token)
    return [found[place] for place in range(len(guesses))]


@given(GUESSES, st.floats(0, 3))
def test_a_lookups_guesses_are_hung_as_far_as_they_are_worth_half_of_the_price(guesses, price):
    kept = worth_hanging(guesses, price, lambda score: score)
    least = LOOKUP_SHARE * min(price, 1.0)
    expected = [
        path
        for path, reach, (parent, _, _) in zip(paths(guesses), reaches(guesses), guesses, strict=True)
        if parent < 0 or reach >= least
    ]
    assert paths(kept) == expected
    assert all(parent < place for place, (parent, _, _) in enumerate(kept))


def test_what_a_guess_is_worth_is_learned_and_not_what_it_claims():
    chain = [(-1, 1, 0.9), (0, 2, 0.9), (1, 3, 0.9)]
    assert worth_hanging(chain, 0.8, lambda score: score) == chain
    assert worth_hanging(chain, 0.8, lambda score: score / 1.5) == chain[:1]
    assert worth_hanging(chain, 0.0, lambda score: score / 1.5) == chain
