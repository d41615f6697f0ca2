"""A credential that is fetched, kept until shortly before it expires, and fetched once for all who want it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, TypeVar

from autoscaler.adapters.nodepools.reasons import PoolProblem, PoolReason, problem_of
from autoscaler.errors import RequestFailed
from autoscaler.hidden import Hidden
from autoscaler.ports import Clock

EARLY_S: Final = 300.0
EARLY_RATIO: Final = 0.2
"""Renewed so long before its end, or this share of its life where that is less."""
AGAIN_S: Final = 1.0
"""After a refusal a new one is fetched, but not more often than this."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Granted(Generic[T]):
    """A credential and for how long it is good, in seconds from now."""

    value: Hidden[T]
    lives_s: float


class Renewed(Generic[T]):
    """fetch(deadline_s): gets a new one; raises PoolProblem."""

    def __init__(self, fetch: Callable[[float], Awaitable[Granted[T]]], clock: Clock) -> None:
        self._fetch = fetch
        self._clock = clock
        self._kept: Hidden[T] | None = None
        self._fetched_at_s = float("-inf")
        self._renew_at_s = float("-inf")
        self._ends_at_s = float("-inf")
        self._one_at_a_time = asyncio.Lock()

    async def get(self, deadline_s: float) -> Hidden[T]:
        """A credential that is good now. Raises PoolProblem; where a new one can't be had, the old one is taken while it lives."""
        if self._kept is not None and self._clock.monotonic_s() < self._renew_at_s:
            return self._kept
        try:
            async with asyncio.timeout(deadline_s), self._one_at_a_time:
                now_s = self._clock.monotonic_s()
                if self._kept is not None and now_s < self._renew_at_s:
                    return self._kept
                granted = await self._fetch(deadline_s)
                self._kept = granted.value
                self._fetched_at_s = now_s
                self._ends_at_s = now_s + granted.lives_s
                self._renew_at_s = self._ends_at_s - min(EARLY_S, EARLY_RATIO * granted.lives_s)
                return granted.value
        except (PoolProblem, TimeoutError) as fault:
            if self._kept is not None and self._clock.monotonic_s() < self._ends_at_s:
                return self._kept
            if isinstance(fault, TimeoutError):
                raise PoolProblem(PoolReason.Unreachable, f"no credential within {deadline_s:g} s") from None
            raise

    def refused(self) -> None:
        """It was not taken: the next one who asks gets a new one, but not in a storm."""
        self._renew_at_s = min(self._renew_at_s, self._fetched_at_s + AGAIN_S)
        self._ends_at_s = self._renew_at_s


def no_credential(fault: RequestFailed, what: str) -> PoolProblem:
    """Why none was given out: refused, or nobody answered, which are different things to do about. what: whose it would have been."""
    problem = problem_of(fault)
    passing = (PoolReason.Throttled, PoolReason.Unreachable, PoolReason.Unavailable, PoolReason.UnexpectedAnswer)
    reason = problem.reason if problem.reason in passing else PoolReason.CredentialsRefused
    return PoolProblem(reason, f"no {what}: {problem.words}", retry_after_s=problem.retry_after_s)


async def read_token_file(path: str, what: str) -> Hidden[str]:
    """A projected service account token: read each time, since the kubelet replaces it. Raises PoolProblem naming the file only."""
    try:
        text = await asyncio.to_thread(Path(path).read_text, "ascii")
    except (OSError, UnicodeDecodeError) as fault:
        why = fault.strerror if isinstance(fault, OSError) else "it is no text"
        raise PoolProblem(PoolReason.CredentialsRefused, f"{what}: the file {path} can't be read: {why}") from None
    return Hidden(text.strip())
