"""A target whose own next token is a hash of the prefix, so that every output is known beforehand."""

import zlib
from collections.abc import Sequence

from amusd.speculation.messages import DrafterId
from amusd.speculation.target import Limits

VOCABULARY_SIZE = 4
END = 3
WINDOW = 6
LIMITS = Limits(
    window=WINDOW, nodes_total_max=64, frame_nodes_max=5, drafters_max=2, finished_max=2, remembered_max=256
)
REQUESTS_MAX = 3
LOOKUP = DrafterId(-1)


def next_token(prefix: Sequence[int]) -> int:
    """What the target says after a prefix: one token in sixteen ends the text."""
    digest = zlib.crc32(bytes(prefix))
    return END if digest % 16 == 0 else digest // 16 % END


def alone(prompt: Sequence[int], length_max: int) -> tuple[tuple[int, ...], str]:
    """The target's output without any drafter, and why it ends."""
    tokens = list(prompt)
    while len(tokens) < length_max:
        tokens.append(next_token(tokens))
        if tokens[-1] == END:
            return tuple(tokens[len(prompt) :]), "stop"
    return tuple(tokens[len(prompt) :]), "length"
