"""Which nodes a pass would verify: tables over small trees."""

import pytest

from amusd.policies.choices import BRANCHES_MAX, choose_chain, choose_rows, choose_tree, count_drafted
from amusd.speculation.tree import SpeculationTree


def tree_of(*steps):
    """A tree from (parent index or None, token, score); returns it with its nodes."""
    tree, nodes = SpeculationTree(3, 7), []
    for parent, token, score in steps:
        nodes.append(tree.add(tree.root if parent is None else nodes[parent], token, score))
    return tree, nodes


def claimed(node):
    return node.score


FORK = ((None, 1, 0.6), (None, 2, 0.3), (0, 3, 0.5), (1, 4, 0.9), (2, 5, 0.1))


def test_a_chain_holds_the_likeliest_path_and_its_reaches():
    tree, nodes = tree_of(*FORK)
    choice = choose_chain(tree, 7, claimed)
    assert choice.nodes == [nodes[0], nodes[2], nodes[4]]
    assert list(choice.parents) == [0, 1, 2]
    assert choice.reaches == pytest.approx([0.6, 0.3, 0.03])


def test_what_costs_more_than_it_brings_recommends_no_branch():
    tree, nodes = tree_of((None, 1, 0.5), (None, 2, 0.45), (1, 3, 0.9))
    assert choose_chain(tree, 7, claimed).nodes == [nodes[1], nodes[2]]
    assert choose_chain(tree, 7, claimed, 0.45).nodes == [nodes[0]]
    assert choose_tree(tree, 1, claimed, 0.0).nodes == choose_tree(tree, 1, claimed, 0.45).nodes


def test_a_tree_holds_the_nodes_of_highest_reach_wherever_they_hang():
    tree, nodes = tree_of(*FORK)
    choice = choose_tree(tree, 4, claimed)
    assert choice.nodes[0] is nodes[0] and set(map(id, choice.nodes)) == {id(n) for n in nodes[:4]}
    assert choice.reaches == pytest.approx([0.6, 0.3, 0.3, 0.27])
    for row, (node, parent) in enumerate(zip(choice.nodes, choice.parents, strict=True), 1):
        assert parent < row
        assert node.parent is (tree.root if parent == 0 else choice.nodes[parent - 1])


def test_estimates_overrule_claims():
    tree, nodes = tree_of((None, 1, 0.9), (None, 2, 0.2))
    for choose in (choose_chain, choose_tree):
        assert choose(tree, 1, lambda node: 1 - node.score).nodes == [nodes[1]]


def test_any_prefix_of_a_choice_is_a_choice():
    tree, _ = tree_of(*FORK)
    for choose in (choose_chain, choose_tree, choose_rows):
        whole = choose(tree, 5, claimed)
        for count in range(len(whole.nodes) + 1):
            cut = whole.first(count)
            assert all(parent <= row for row, parent in enumerate(cut.parents))
            assert len(cut.reaches) == len(cut.nodes) == count


def test_paths_cover_a_choice_the_best_one_first():
    tree, nodes = tree_of(*FORK)
    choice = choose_tree(tree, 5, claimed)
    paths = [[choice.nodes[row - 1] for row in path] for path in choice.chains()]
    assert paths == [[nodes[0], nodes[2], nodes[4]], [nodes[1], nodes[3]]]
    assert choose_chain(tree, 0, claimed).chains() == []


def test_rows_take_a_bounded_number_of_paths():
    tree, _ = tree_of(*((None, token, 0.5 / token) for token in range(1, 10)))
    choice = choose_rows(tree, 9, claimed)
    assert [node.token for node in choice.nodes] == list(range(1, 2 + BRANCHES_MAX))
    assert len(choice.chains()) == 1 + BRANCHES_MAX


def test_an_empty_tree_gives_an_empty_choice():
    tree, _ = tree_of()
    assert all(not choose(tree, 5, claimed).nodes for choose in (choose_chain, choose_tree, choose_rows))


LINKED, LOOKUP = 4, -1


@pytest.mark.parametrize(
    ("owners", "count"),
    [
        ({0: [LINKED], 2: [LINKED], 4: [LINKED]}, 3),
        ({0: [LOOKUP, LINKED], 2: [LINKED], 4: [LOOKUP]}, 2),
        ({0: [LOOKUP], 2: [LOOKUP], 4: [LOOKUP]}, 0),
        ({0: [LOOKUP], 2: [LOOKUP], 4: [LOOKUP], 1: [LINKED]}, 3),  # overruled, but it has spoken
    ],
)
def test_nodes_count_as_drafted_up_to_the_first_that_was_only_looked_up(owners, count):
    tree, nodes = tree_of(*FORK)
    for place, drafters in owners.items():
        nodes[place].aliases.update({(drafter, place): 0.5 for drafter in drafters})
    assert count_drafted(tree, choose_chain(tree, 7, claimed), {LINKED}) == count
