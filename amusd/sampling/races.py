"""The noise of the exponential races, from a counter: no state, the same bits on every device.

Laws:
- E(seed, sample index, position, token) is one fixed draw of Exp(1), independent for all four.
- It does not depend on the vocabulary's size, on who asks, in which order or together with what.
- It is made of 53 random bits: with 24 the tails of a 150,000-token vocabulary are visibly wrong.

Token t of a position is output t of a SplitMix64 generator (Steele, Lea & Flood 2014, "Fast splittable
pseudorandom number generators", with the constants of Stafford's mix 13) whose seed is a hash of seed,
sample index and position.
"""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

GAMMA: Final = 0x9E3779B97F4A7C15
_MIX: Final = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
_LAST_SHIFT: Final = 31
_MASK: Final = 2**64 - 1
_RANDOM_BITS: Final = 53
_SMALLEST: Final = 2.0**-54
"""What E is where u rounds to 1: half of the next smallest, so that log E is finite everywhere."""

_BLOCK_TOKENS: Final = 2**15  # of noise made at once: fits the cache of a core, costs 0.6 ms there
_CACHED_POSITIONS: Final = 32


def mix64(value: int) -> int:
    """SplitMix64's finalizer, a bijection of 64-bit numbers."""
    for shift, factor in _MIX:
        value = (value ^ (value >> shift)) * factor & _MASK
    return value ^ (value >> _LAST_SHIFT)


def position_key(seed: int, sample_index: int, position: int) -> int:
    """The 64-bit seed of one position's generator."""
    key = 0
    for part in (seed, sample_index, position):
        key = mix64(((key ^ part) + GAMMA) & _MASK)
    return key


def _signed(value: int) -> int:
    """The int64 with the same 64 bits."""
    return value - 2**64 if value >= 2**63 else value


def _unsigned_shift_(bits: Tensor, shift: int) -> Tensor:
    """Shift right in place, filling with zeros; int64 shifts fill with the sign."""
    return bits.bitwise_right_shift_(shift).bitwise_and_(2 ** (64 - shift) - 1)


def random_bits(keys: Sequence[int], counters: Tensor) -> Tensor:
    """The generators' outputs.

    Args:
        keys: one `position_key` per row.
        counters: [vocab] int64, (token + 1) * GAMMA with wrapping.

    Returns:
        [rows, vocab] int64: 64 random bits each.
    """
    starts = torch.tensor([_signed(key) for key in keys], dtype=torch.int64, device=counters.device)
    bits = starts[:, None] + counters[None, :]  # [rows, vocab]
    for shift, factor in _MIX:
        bits ^= _unsigned_shift_(bits.clone(), shift)
        bits *= _signed(factor)
    bits ^= _unsigned_shift_(bits.clone(), _LAST_SHIFT)
    return bits


def exponentials(bits: Tensor) -> Tensor:
    """E = -log u with u the upper 53 bits, plus one, over 2^53: in (0, 1].

    Args:
        bits: int64, overwritten.

    Returns:
        float64, at least 2^-54 and at most 53 log 2.
    """
    u = _unsigned_shift_(bits, 64 - _RANDOM_BITS).add_(1).to(torch.float64).mul_(2.0**-_RANDOM_BITS)
    return u.log_().neg_().clamp_(min=_SMALLEST)


class RaceNoise:
    """log E of one request, made a block of positions at a time and kept for a while.

    Blocks start at multiples of their size, so a position is always computed in the same company: the
    last bit of a vectorized `log` may depend on it.

    Args:
        seed: of the request, 0 to 2^63 - 1.
        vocabulary_size: tokens per row.
        sample_index: which of several outputs of the same prompt.
        device: where the noise is made and returned.
    """

    def __init__(
        self, seed: int, vocabulary_size: int, sample_index: int = 0, device: torch.device | str = "cpu"
    ) -> None:
        self._seed = seed
        self._sample_index = sample_index
        tokens = torch.arange(1, vocabulary_size + 1, dtype=torch.int64, device=device)
        self._counters = tokens.mul_(_signed(GAMMA))  # [vocab]
        self._block_positions = max(1, min(16, _BLOCK_TOKENS // vocabulary_size))
        self._blocks_max = _CACHED_POSITIONS // self._block_positions
        self._blocks: dict[int, Tensor] = {}  # block index -> [positions, vocab] float32, oldest use first

    def rows(self, positions: Sequence[int]) -> Tensor:
        """The noise of some positions.

        Args:
            positions: absolute, counting the prompt.

        Returns:
            [rows, vocab] float32 log E, a fresh tensor.
        """
        return torch.stack([self._row(position) for position in positions])

    def _row(self, position: int) -> Tensor:
        index, offset = divmod(position, self._block_positions)
        block = self._blocks.pop(index, None)
        if block is None:
            block = self._make(index * self._block_positions)
            while len(self._blocks) >= self._blocks_max:
                del self._blocks[next(iter(self._blocks))]
        self._blocks[index] = block
        return block[offset]

    def _make(self, first: int) -> Tensor:
        keys = [
            position_key(self._seed, self._sample_index, position)
            for position in range(first, first + self._block_positions)
        ]
        return exponentials(random_bits(keys, self._counters)).log_().to(torch.float32)
