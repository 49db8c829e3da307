"""What one run of one contender gives, and what a session that runs it looks like."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from amusd.bench.contenders import Variant


@dataclass(frozen=True, slots=True)
class Task:
    """One prompt to decode.

    Args:
        prompt: token ids.
        temperature: 0 is greedy; no other warp is on.
        seed: of the contender's own noise.
        tokens: of output, exactly.
    """

    prompt: tuple[int, ...]
    temperature: float
    seed: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Run:
    """How a task went; the terms are those of benchmarks/README.md.

    Args:
        token_ids: the output.
        seconds: wall time of the call.
        first_seconds: wall time until the first tokens were handed out.
        first_tokens: how many came then.
        passes: forwards of the target.
        verified: drafted tokens in them.
        accepted: of those, the ones that were committed.
        extras: further numbers of our own engine.
        counts: its counts by depth and by rank (`amusd.speculation.stats`).
    """

    token_ids: tuple[int, ...]
    seconds: float
    first_seconds: float
    first_tokens: int
    passes: int
    verified: int
    accepted: int
    extras: dict[str, float] = field(default_factory=dict)
    counts: dict[str, list[int]] = field(default_factory=dict)


class Session(Protocol):
    """A contender's processes with their models loaded; asleep while nothing runs."""

    def run(self, variant: Variant, task: Task) -> Run:
        """Decode one prompt."""

    @property
    def facts(self) -> str:
        """What its processes say about the models that they loaded."""

    def pids(self) -> Sequence[int]:
        """The processes that hold its models."""

    def close(self) -> None:
        """End them; safe to call again."""
