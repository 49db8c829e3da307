"""Several drafters and one tree: who is believed, and who gets the credit."""

from amusd.speculation.messages import Hello, Node, Propose
from amusd.speculation.stats import Credit
from amusd.speculation.target import Guess, TargetEndpoint

from .pair import chain

LOOKUP, LINK, INCARNATION = -1, 7, 5


def endpoint():
    made = TargetEndpoint(1, vocabulary_size=100)
    made.on_attach(LINK, Hello(INCARNATION, {}))
    assert made.on_open(1, (10, 11, 12), 3, 50, frozenset())
    made.messages_for(LINK)
    return made


def propose(made, *nodes):
    made.on_propose(LINK, Propose(1, nodes))


def test_a_node_that_two_guessed_is_one_node_with_both_claims():
    made = endpoint()
    made.on_guess(LOOKUP, 1, [(-1, 20, 0.9), (0, 30, 0.8)])
    propose(made, Node(0, -3, 20, 0.4), Node(1, 0, 31, 0.5))
    assert made.tree(1).count == 3
    [shared] = made.tree(1).root.children.values()
    assert {drafter: score for (drafter, _), score in shared.aliases.items()} == {LOOKUP: 0.9, LINK: 0.4}
    assert set(shared.children) == {30, 31}


def test_each_claim_is_an_outcome_of_its_drafter():
    made = endpoint()
    made.on_guess(LOOKUP, 1, [(-1, 20, 0.9), (-1, 21, 0.2)])
    propose(made, Node(0, -3, 20, 0.4))
    verified = made.on_verified(1, [], [], [20])
    assert set(verified.guesses) == {
        Guess(LOOKUP, 0.9, True, rank=0),
        Guess(LINK, 0.4, True, rank=0),
        Guess(LOOKUP, 0.2, False, rank=1),
    }


def test_whoever_proposed_an_accepted_node_is_credited_and_known_if_nobody_else_did():
    made = endpoint()
    made.on_guess(LOOKUP, 1, [(-1, 20, 0.9), (0, 30, 0.8), (1, 40, 0.7)])
    propose(made, Node(0, -3, 20, 0.4))
    made.on_verified(1, chain(made), range(3), [20, 30, 5, 6])
    assert made.stats(1).credits == {
        LOOKUP: Credit(drafted=3, verified=3, accepted=2, accepted_alone=1),
        INCARNATION: Credit(drafted=1, verified=1, accepted=1, accepted_alone=0),
    }
    assert sorted(made.stats(1).to_dict()["credits"]) == [[LOOKUP, 3, 3, 2, 1], [INCARNATION, 1, 1, 1, 0]]


def test_what_a_lookup_guessed_outlives_the_drafter_that_guessed_it_too():
    made = endpoint()
    made.on_guess(LOOKUP, 1, [(-1, 20, 0.9)])
    propose(made, Node(0, -3, 20, 0.4), Node(1, 0, 30, 0.4))
    made.on_detach(LINK)
    assert [node.token for node in made.tree(1).nodes()] == [20]


def test_a_guess_below_a_drafted_node_lengthens_its_path():
    made = endpoint()
    propose(made, Node(0, -3, 20, 0.4))
    [drafted] = made.tree(1).root.children.values()
    made.on_guess(LOOKUP, 1, [(-1, 30, 0.5), (0, 40, 0.5)], below=drafted)
    assert [node.token for node in chain(made)] == [20, 30, 40]


def test_guesses_leave_with_the_tree_or_move_up_with_it():
    made = endpoint()
    made.on_guess(LOOKUP, 1, [(-1, 20, 0.9), (0, 30, 0.8), (-1, 21, 0.1)])
    made.on_verified(1, [], [], [20])
    assert [node.token for node in made.tree(1).nodes()] == [30]
    made.on_verified(1, [], [], [99])
    assert made.tree(1).count == 0
