"""Who is told how far a benchmark is."""

from typing import Protocol


class Progress(Protocol):
    """Told what happens; called between runs only, never while something is timed."""

    def begin(self, phase: str, steps: int) -> None:
        """A phase of so many runs begins."""

    def step(self, text: str) -> None:
        """The next run begins."""
