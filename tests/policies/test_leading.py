"""What a drafter leaves undone for its price, and how soon it tries again."""

from hypothesis import example, given
from hypothesis import strategies as st

from amusd.policies.leading import NOTHING, PAUSE_MAX, ROOT_ONLY, Leads

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
