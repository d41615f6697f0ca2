"""How often something may be written, when somebody else undoes it each time."""

from __future__ import annotations

from collections.abc import Callable


class Pace:
    """A few at once, then one every `every_s` seconds: a GitOps tool that fights for the caBundle, or two replicas that can't agree, cost a
    request now and then instead of a storm."""

    def __init__(self, monotonic_s: Callable[[], float], *, at_once: int, every_s: float) -> None:
        self._monotonic_s = monotonic_s
        self._at_once = at_once
        self._every_s = every_s
        self._left = float(at_once)
        self._at_s = monotonic_s()

    def wait_s(self) -> float:
        """How long until one more is allowed; 0: now, and it is counted."""
        left = self._refilled()
        if left >= 1.0:
            self._left = left - 1.0
            return 0.0
        return (1.0 - left) * self._every_s

    def is_rested(self) -> bool:
        """Whether it has been quiet for so long that half of those at once are allowed again."""
        return self._refilled() >= self._at_once / 2

    def _refilled(self) -> float:
        now_s = self._monotonic_s()
        self._left = min(float(self._at_once), self._left + (now_s - self._at_s) / self._every_s)
        self._at_s = now_s
        return self._left
