"""How often a lookup is asked: at every commit while it helps, more and more rarely while it does not.

Laws:
- A guess that was right puts it back to every commit.
- However useless, it is asked again after at most `PAUSE_MAX` commits: texts change.
"""

from typing import Final

MISSES_MAX: Final = 16  # answers in a row, none of them right, after which it is asked half as often
PAUSE_MAX: Final = 32  # commits


class Asking:
    """One lookup's turns in one request."""

    def __init__(self) -> None:
        self._pause = 1
        self._waited = 0
        self._misses = 0

    def is_due(self) -> bool:
        """Whether to ask it after this commit; to be called once after each."""
        self._waited += 1
        if self._waited < self._pause:
            return False
        self._waited = 0
        return True

    def observe(self, hit: bool) -> None:
        """One of its answers had, or had not, a guess that was the target's token."""
        if hit:
            self._pause, self._misses = 1, 0
            return
        self._misses += 1
        if self._misses >= MISSES_MAX:
            self._pause, self._misses = min(2 * self._pause, PAUSE_MAX), 0
