import pytest
from hypothesis import given
from hypothesis import strategies as st

from amusd.speculation.tree import SpeculationTree, TreeNode


def grow(tree: SpeculationTree, path: str, *scores: float) -> TreeNode:
    """Add a path of one-letter tokens below the root; the scores are its nodes' (1.0 where missing)."""
    node = tree.root
    for index, letter in enumerate(path):
        node = tree.add(node, ord(letter), scores[index] if index < len(scores) else 1.0)
    return node


def letters(nodes: list[TreeNode]) -> str:
    return "".join(chr(node.token) for node in nodes)


@pytest.fixture
def tree() -> SpeculationTree:
    return SpeculationTree(length=5, last_token=0)


def test_one_node_per_path_and_token(tree: SpeculationTree) -> None:
    first = grow(tree, "ab")
    assert grow(tree, "ab") is first
    assert (tree.count, first.position) == (2, 6)


def test_a_commit_on_the_tree_re_roots_it_and_what_hangs_below_survives(tree: SpeculationTree) -> None:
    below = grow(tree, "abc")
    sibling = grow(tree, "ax")
    advance = tree.advance([ord("a"), ord("b")])
    assert [node is not None for node in advance.kept] == [True, True]
    assert (advance.dropped, advance.rolled_back) == ((sibling,), False)
    assert tree.path(below) == (ord("c"),)
    assert (tree.count, tree.length) == (1, 7)
    assert not sibling.live
    assert below.live


def test_a_commit_off_the_tree_drops_it_and_is_a_rollback(tree: SpeculationTree) -> None:
    grow(tree, "abc")
    advance = tree.advance([ord("a"), ord("x"), ord("b")])
    assert letters(list(advance.dropped)) == "bc"
    assert advance.rolled_back
    assert [node is not None for node in advance.kept] == [True, False, False]
    assert (tree.count, tree.length, tree.root.token) == (0, 8, ord("b"))


def test_a_commit_past_the_leaves_is_no_rollback(tree: SpeculationTree) -> None:
    grow(tree, "a")
    assert not tree.advance([ord("a"), ord("b")]).rolled_back
    assert not tree.advance([ord("c")]).rolled_back


def test_nothing_grows_below_a_node_that_left_the_tree(tree: SpeculationTree) -> None:
    gone = grow(tree, "a")
    tree.advance([ord("x")])
    with pytest.raises(ValueError, match="left the tree"):
        tree.add(gone, 1, 1.0)


def test_nodes_come_parents_first(tree: SpeculationTree) -> None:
    for path in ("abc", "abd", "xy"):
        grow(tree, path)
    seen = {id(tree.root)}
    for node in tree.nodes():
        assert id(node.parent) in seen
        seen.add(id(node))
    assert len(seen) == 1 + tree.count == 7


def test_principal_chain_is_the_path_with_the_most_expected_acceptances(tree: SpeculationTree) -> None:
    grow(tree, "a", 0.6)
    grow(tree, "bcd", 0.4, 0.9, 0.9)
    assert letters(tree.principal_chain(8)[0]) == "bcd"
    assert letters(tree.principal_chain(1)[0]) == "a"
    assert tree.principal_chain(0) == ([], [])


def test_at_a_price_only_what_exceeds_it_recommends_a_path(tree: SpeculationTree) -> None:
    grow(tree, "a", 0.6)
    grow(tree, "bcd", 0.4, 0.9, 0.9)
    grow(tree, "xy", 0.55, 0.95)
    grow(tree, "qz", 0.65, 0.05)
    assert letters(tree.principal_chain(8, price=0.0)[0]) == "bcd"
    assert letters(tree.principal_chain(8, price=0.3)[0]) == "xy"
    assert letters(tree.principal_chain(8, price=0.5)[0]) == "qz", "what lies below the price harms no path"
    assert letters(tree.principal_chain(8, price=1.0)[0]) == "qz", "of none that pays the likelier next node"


@given(
    grown=st.lists(st.tuples(st.integers(0, 17), st.integers(0, 4), st.floats(0.05, 1.0)), max_size=18),
    price=st.sampled_from([0.0, 0.05, 0.3, 0.6, 1.0]),
    nodes_max=st.integers(0, 7),
)
def test_no_path_is_worth_more_and_below_the_price_the_likelier_goes_on(
    grown: list[tuple[int, int, float]], price: float, nodes_max: int
) -> None:
    tree = SpeculationTree(5, 1)
    nodes = [tree.root]
    for parent, token, score in grown:
        tree.add(nodes[parent % len(nodes)], token, score)
        nodes = [tree.root, *tree.nodes()]

    def most(node: TreeNode, reach: float, left: int) -> float:
        below = [most(child, reach * child.score, left - 1) for child in node.children.values() if left]
        return (max(0.0, reach - price) if node is not tree.root else 0.0) + max(below, default=0.0)

    chain, reaches = tree.principal_chain(nodes_max, price=price)
    assert sum(max(0.0, reach - price) for reach in reaches) == pytest.approx(most(tree.root, 1.0, nodes_max))
    assert len(chain) == nodes_max or not (chain[-1] if chain else tree.root).children
    reach = 1.0
    for parent, node, after in zip((tree.root, *chain), chain, reaches, strict=False):
        assert node.parent is parent and after == pytest.approx(reach * node.score)
        if reach <= price:
            assert node.score == max(child.score for child in parent.children.values())
        reach = after


def test_principal_chain_breaks_ties_by_the_lowest_token(tree: SpeculationTree) -> None:
    grow(tree, "b", 0.5)
    grow(tree, "a", 0.5)
    assert letters(tree.principal_chain(1)[0]) == "a"


def test_best_nodes_are_closed_under_parents_and_ranked_by_reach(tree: SpeculationTree) -> None:
    grow(tree, "ab", 0.6, 0.5)
    grow(tree, "xy", 0.4, 0.9)
    assert letters(tree.best_nodes(3)) == "axy"
    assert len(tree.best_nodes(99)) == 4


def test_reach_counts_from_the_present_root(tree: SpeculationTree) -> None:
    leaf = grow(tree, "abc", 0.5, 0.5, 0.25)
    assert tree.reach(leaf) == pytest.approx(1 / 16)
    tree.advance([ord("a")])
    assert tree.reach(leaf) == pytest.approx(1 / 8)


def test_nodes_without_an_alias_below_them_are_pruned(tree: SpeculationTree) -> None:
    kept = grow(tree, "ab")
    kept.aliases[1, 1] = 1.0  # type: ignore[index]
    grow(tree, "abc")
    grow(tree, "x")
    assert letters(list(tree.prune_unaliased())) == "cx"
    assert tree.count == 2
