"""What the target counts: guesses by rank, verified nodes by depth, corrections."""

from amusd.speculation.messages import Hello, Node, Propose
from amusd.speculation.stats import DEPTHS, RANKS, RequestStats
from amusd.speculation.target import Guess, TargetEndpoint

from .pair import chain


def endpoint():
    made = TargetEndpoint(1, vocabulary_size=100)
    made.on_attach(7, Hello(5, {}))
    assert made.on_open(1, (10, 11, 12), 3, 50, frozenset())
    made.messages_for(7)
    nodes = [Node(0, -3, 20, 0.6), Node(1, -3, 21, 0.3), Node(2, 0, 30, 0.9), Node(3, 1, 40, 0.5)]
    made.on_propose(7, Propose(1, tuple(nodes)))
    return made


def test_every_guess_below_a_committed_token_is_an_outcome_verified_or_not():
    made = endpoint()
    verified = made.on_verified(1, [], [], [21])  # a plain pass: nothing was verified
    assert verified.guesses == (Guess(7, 0.6, False, 0), Guess(7, 0.3, True, 1))
    stats = made.stats(1)
    assert stats.rank_seen[:3] == [1, 1, 0] and stats.rank_hits[:3] == [0, 1, 0]
    assert made.on_verified(1, [], [], [40]).guesses == (Guess(7, 0.5, True, 0),)


def test_depths_count_nodes_whose_parent_was_accepted():
    made = endpoint()
    nodes = chain(made)
    assert [node.token for node in nodes] == [20, 30]
    made.on_verified(1, nodes, range(2), [20, 31, 5])
    stats = made.stats(1)
    assert stats.depth_verified[:3] == [1, 1, 0] and stats.depth_accepted[:3] == [1, 0, 0]
    assert stats.corrections == 1 and stats.foreseen_corrections == 0


def test_a_bonus_is_no_correction():
    made = endpoint()
    nodes = chain(made)
    made.on_verified(1, nodes, range(2), [20, 30, 5])
    assert made.stats(1).corrections == 0
    assert made.stats(1).depth_accepted[:3] == [1, 1, 0]


def test_what_is_deeper_or_ranks_lower_counts_as_the_last():
    stats = RequestStats()
    stats.count_depths(DEPTHS + 5, rejected=False)
    stats.count_guess(RANKS + 3, hit=True)
    assert stats.depth_verified[-1] == 6 and stats.rank_hits == [0] * (RANKS - 1) + [1]
