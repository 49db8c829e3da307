"""N-grams: what followed these words most often, in anything that this server has read or written.

The idea of ADED (arXiv 2407.12021): an online trie of token n-grams, searched for several continuations by
their counts. It is shared by all requests and grows with every commit, so it must be bounded.
"""

import heapq
from collections.abc import Iterator, Sequence
from typing import Final

from amusd.drafters.base import LOOKUP_BRANCHES_MAX, Guesses
from amusd.speculation.messages import RequestId

ORDER: Final = 5  # tokens of the longest n-gram
CONTEXT_MIN: Final = 2  # tokens; after one token there are too many continuations, and they are seldom right
NODES_MAX: Final = 200_000
GUESSES_MAX: Final = 12  # of one search, which takes some two microseconds for each
REACH_MIN: Final = 0.02  # of a guess, by its claims


class TrieNode:
    """What may follow an n-gram; its count is how often the n-gram was seen."""

    __slots__ = ("children", "count")

    def __init__(self) -> None:
        self.count = 0
        self.children: dict[int, TrieNode] | None = None


class Trie:
    """Counts of n-grams up to `order` tokens, in at most `nodes_max` nodes.

    Args:
        order: tokens of the longest n-gram.
        nodes_max: a token that would need more nodes than are left is not counted at all.
    """

    def __init__(self, order: int, nodes_max: int) -> None:
        self.order = order
        self.nodes_max = nodes_max
        self.count = 0  # nodes, the root not counted
        self._root = TrieNode()

    @property
    def full(self) -> bool:
        """Whether the next token might find no room: its n-grams can need so many nodes."""
        return self.count + self.order * (self.order + 1) // 2 > self.nodes_max

    def add(self, window: Sequence[int]) -> bool:
        """Count every n-gram that ends with the last token of `window`; tells whether there was room."""
        if self.full:
            return False
        for start in range(max(0, len(window) - self.order), len(window)):
            node = self._root
            for token in window[start:]:
                if node.children is None:
                    node.children = {}
                child = node.children.get(token)
                if child is None:
                    child = node.children[token] = TrieNode()
                    self.count += 1
                node = child
            node.count += 1
        return True

    def find(self, context: Sequence[int]) -> TrieNode | None:
        """The node of an n-gram, or None if it was never seen."""
        node: TrieNode | None = self._root
        for token in context:
            node = node.children.get(token) if node is not None and node.children else None
        return node


class NgramLookup:
    """Guesses from one trie over all requests.

    The trie has two generations. When the younger one is full it takes the place of the older one, which is
    forgotten: so no commit ever has to clean up, and what is still in use comes back into the younger one.

    Args:
        corpus: text to begin with; what it teaches is never forgotten, and takes at most half of the nodes.
        order: tokens of the longest n-gram.
        nodes_max: of all tries together; 200,000 take 45 MB.
    """

    name = "ngram"

    def __init__(self, corpus: Sequence[int] = (), *, order: int = ORDER, nodes_max: int = NODES_MAX) -> None:
        self._order = order
        self._windows: dict[RequestId, list[int]] = {}
        seed = Trie(order, nodes_max // 2)
        self._read = next(
            (end for end in range(len(corpus)) if not seed.add(corpus[max(0, end + 1 - order) : end + 1])),
            len(corpus),
        )
        self._seed = seed
        self._generation_max = (nodes_max - seed.count) // 2
        self._older, self._younger = Trie(order, 0), Trie(order, self._generation_max)

    @property
    def nodes(self) -> int:
        """Nodes of all tries."""
        return sum(trie.count for trie in self._tries())

    def describe(self) -> str:
        """Facts for the start-up print."""
        seed = f", {self._read} tokens of a corpus" if self._read else ""
        return f"ngram: counts of up to {self._order} tokens over all requests{seed}"

    def open(self, request: RequestId) -> None:
        """Take a request with an empty log."""
        self._windows[request] = []

    def close(self, request: RequestId) -> None:
        """Forget where a request is; what it taught stays."""
        self._windows.pop(request, None)

    def follow(self, request: RequestId, tokens: Sequence[int]) -> None:
        """Count the n-grams that end with these tokens."""
        window = self._windows[request]
        for token in tokens:
            window.append(token)
            del window[: -self._order]
            if not self._younger.add(window):
                self._older, self._younger = self._younger, Trie(self._order, self._generation_max)
                self._younger.add(window)

    def guess(self, request: RequestId, depth: int) -> Guesses:
        """The likeliest continuations, best first."""
        context = tuple(self._windows[request][1 - self._order :])
        guesses: Guesses = []
        # minus reach, order of arrival, parent, token, score, what came before it, depth
        frontier: list[tuple[float, int, int, int, float, tuple[int, ...], int]] = []
        ties, parent, reach, level = 0, -1, 1.0, 0
        while len(guesses) < min(GUESSES_MAX, depth * LOOKUP_BRANCHES_MAX):
            if level < depth:
                for token, score in self._followers(context):
                    if reach * score >= REACH_MIN:
                        ties += 1  # contexts are never compared
                        heapq.heappush(
                            frontier, (-reach * score, ties, parent, token, score, context, level + 1)
                        )
            if not frontier:
                break
            minus_reach, _, above, token, score, before, level = heapq.heappop(frontier)
            guesses.append((above, token, score))
            parent, reach = len(guesses) - 1, -minus_reach
            context = (*before, token)[1 - self._order :]
        return guesses

    def _followers(self, context: tuple[int, ...]) -> list[tuple[int, float]]:
        """The tokens that followed the longest known end of a context most often, each with its share.

        The share is of one occurrence more than there were: what was seen once is half believed.
        """
        for start in range(len(context) + 1 - CONTEXT_MIN):
            counts: dict[int, int] = {}
            for trie in self._tries():
                node = trie.find(context[start:])
                if node is not None and node.children:
                    for token, child in node.children.items():
                        if child.count:
                            counts[token] = counts.get(token, 0) + child.count
            if counts:
                total = sum(counts.values()) + 1
                best = heapq.nlargest(LOOKUP_BRANCHES_MAX, counts.items(), key=lambda item: item[1])
                return [(token, count / total) for token, count in best]
        return []

    def _tries(self) -> Iterator[Trie]:
        return iter((self._seed, self._older, self._younger))
