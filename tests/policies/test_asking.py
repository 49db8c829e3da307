"""How often a lookup is asked."""

from itertools import pairwise

from amusd.policies.asking import MISSES_MAX, PAUSE_MAX, Asking


def asked(asking, commits, hit):
    """At which commits it is asked, each answer being right or wrong."""
    places = []
    for place in range(commits):
        if asking.is_due():
            places.append(place)
            asking.observe(hit)
    return places


def test_one_that_helps_is_asked_at_every_commit():
    assert asked(Asking(), 100, hit=True) == list(range(100))


def test_one_that_never_helps_is_asked_less_and_less_but_always_again():
    places = asked(Asking(), 3000, hit=False)
    gaps = [later - earlier for earlier, later in pairwise(places)]
    assert gaps[: MISSES_MAX - 1] == [1] * (MISSES_MAX - 1)
    assert gaps == sorted(gaps)
    assert gaps[-1] == PAUSE_MAX


def test_one_right_guess_brings_it_back():
    asking = Asking()
    asked(asking, 1000, hit=False)
    asking.observe(True)
    assert asked(asking, 10, hit=True) == list(range(10))
