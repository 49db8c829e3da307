"""What must hold at every moment of the hostile world, told from outside the endpoints.

The world writes down the true path of every node when it is drafted; a node at the target is compared
with that, never with what the target itself believes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from amusd.speculation.drafter import DrafterEndpoint, LogChange
from amusd.speculation.messages import RequestId
from amusd.speculation.tree import TreeNode

from .fake_target import LIMITS, LOOKUP, WINDOW, alone

if TYPE_CHECKING:
    from .world import Order, World


def check_change(world: World, endpoint: DrafterEndpoint, change: LogChange) -> None:
    log = tuple(endpoint.log(change.request).tokens)
    assert change.length == len(log)
    assert change.tokens == log[len(log) - len(change.tokens) :]
    for node, position in change.committed.items():
        path = world.truth[endpoint.incarnation, change.request, node]
        assert len(path) == position + 1
        assert path == log[: position + 1]
    for node in change.dropped:
        path = world.truth[endpoint.incarnation, change.request, node]
        assert change.truncated or path[: len(log)] != log[: len(path)]


def check_verifiable(
    world: World, request: RequestId, log: tuple[int, ...], nodes: Sequence[TreeNode]
) -> None:
    """Invariant 2: what a pass forwards hangs off the committed prefix by live nodes alone."""
    for node in nodes:
        assert node.live
        for link, node_id in node.aliases:
            if link == LOOKUP:
                continue
            path = world.truth[world.links[link], request, node_id]
            assert path[: len(log)] == log
            assert len(path) == node.position + 1 > len(log)


def check_followed(world: World) -> None:
    """With nothing on its way, a drafter knows all of the log of what it drafts for."""
    for drafter in world.drafters:
        for request in set(drafter.endpoint.requests()) & set(world.target.requests()):
            if drafter.endpoint.attached(request):
                assert tuple(drafter.endpoint.log(request).tokens) == tuple(world.target.log(request).tokens)


def check(world: World) -> None:
    for order in world.orders.values():
        _check_output(world, order)
    for request in world.target.requests():
        _check_target(world, request)
    for drafter in world.drafters:
        _check_drafter(world, drafter.endpoint)
    _check_bounds(world)


def _check_output(world: World, order: Order) -> None:
    expected, why = alone(order.prompt, order.length_max)
    delivered = tuple(order.ledger.tokens)[len(order.prompt) :]
    assert delivered == expected[: len(delivered)]
    if order.ledger.final is not None and not order.aborted:
        assert (delivered, order.ledger.final) == (expected, why)


def _check_target(world: World, request: RequestId) -> None:
    order = world.orders[request]
    log = tuple(world.target.log(request).tokens)
    assert log == (order.prompt + alone(order.prompt, order.length_max)[0])[: len(log)]
    tree = world.target.tree(request)
    nodes = list(tree.nodes())
    assert (len(nodes), tree.length, tree.root.token) == (tree.count, len(log), log[-1])
    for node in nodes:
        assert node.live
        assert node.aliases or node.children
        assert {link for link, _ in node.aliases} <= {LOOKUP, *world.target.drafters()}
        for link, node_id in node.aliases:
            path = log + tree.path(node)
            if link == LOOKUP:
                assert (request, path) in world.looked_up
            else:
                assert world.truth[world.links[link], request, node_id] == path


def _check_drafter(world: World, endpoint: DrafterEndpoint) -> None:
    for request in endpoint.requests():
        tree, log = endpoint.tree(request), tuple(endpoint.log(request).tokens)
        nodes = list(tree.nodes())
        assert len(nodes) == tree.count <= WINDOW
        for node in nodes:
            assert node.id is not None
            assert endpoint.node(request, node.id) is node
            assert world.truth[endpoint.incarnation, request, node.id] == log + tree.path(node)


def _check_bounds(world: World) -> None:
    """Invariant 4."""
    attached = len(world.target.drafters())
    assert attached <= LIMITS.drafters_max
    for request in world.target.requests():
        aliases = [alias for node in world.target.tree(request).nodes() for alias in node.aliases]
        for link in {link for link, _ in aliases} - {LOOKUP}:
            assert sum(other == link for other, _ in aliases) <= 2 * WINDOW
