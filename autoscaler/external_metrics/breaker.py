"""A circuit breaker: whoever does not answer is left alone for a time, instead of being waited for by everybody."""

from __future__ import annotations

import enum
from collections.abc import Callable

from autoscaler.backoff import Backoff


class State(enum.Enum):
    """CLOSED: everything passes. OPEN: nothing does, until the pause is over. PROBING: one request is under way that decides."""

    CLOSED = "closed"
    OPEN = "open"
    PROBING = "probing"


class Attempt:
    """One request that was let pass; one of `succeeded`, `failed` and `abandoned` must be called."""

    __slots__ = ("_breaker", "_period")

    def __init__(self, breaker: Breaker, period: int) -> None:
        self._breaker = breaker
        self._period = period

    def succeeded(self) -> None:
        """The other side is there."""
        if self._period == self._breaker.period:
            self._breaker.close()

    def failed(self) -> None:
        """No answer, or none that is one."""
        if self._period == self._breaker.period:
            self._breaker.count_fault()

    def abandoned(self) -> None:
        """It ended without telling anything, as when the one who asked went away."""
        if self._period == self._breaker.period and self._breaker.state is State.PROBING:
            self._breaker.open_again_at_once()


class Breaker:
    """Opens after `faults` in a row, for a pause of `backoff`; then one probe decides whether it closes, or opens for the next pause.

    monotonic_s: the clock. What began before the breaker opened changes nothing when it ends: that is told by the period.
    """

    def __init__(self, *, faults: int, backoff: Backoff, monotonic_s: Callable[[], float]) -> None:
        self.state = State.CLOSED
        self.period = 0
        self._most = faults
        self._backoff = backoff
        self._monotonic_s = monotonic_s
        self._in_a_row = 0
        self._until_s = 0.0

    @property
    def opens_in_s(self) -> float:
        """Seconds until the next probe may pass; 0 where something may pass now, or a probe is under way."""
        return max(0.0, self._until_s - self._monotonic_s()) if self.state is State.OPEN else 0.0

    @property
    def passes(self) -> bool:
        """Whether `attempt` would let one pass now."""
        return self.state is State.CLOSED or (self.state is State.OPEN and self.opens_in_s <= 0.0)

    def attempt(self) -> Attempt | None:
        """Let one request pass; None where none may."""
        if not self.passes:
            return None
        if self.state is State.OPEN:
            self.state = State.PROBING
            self.period += 1
        return Attempt(self, self.period)

    def close(self) -> None:
        """Something worked."""
        self._in_a_row = 0
        if self.state is not State.CLOSED:
            self.state = State.CLOSED
            self._backoff.progress()

    def count_fault(self) -> None:
        """Something did not."""
        self._in_a_row += 1
        if self.state is State.PROBING or self._in_a_row >= self._most:
            self.state = State.OPEN
            self.period += 1
            self._until_s = self._monotonic_s() + self._backoff.next_s()

    def open_again_at_once(self) -> None:
        """The probe told nothing: the next request is the probe."""
        self.state = State.OPEN
        self._until_s = self._monotonic_s()
