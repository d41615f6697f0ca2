"""What reviews found, for a few seconds: one review for all who ask the same, and no storm while reviews fail."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import numpy as np

from autoscaler.backoff import Backoff
from autoscaler.external_metrics.reviews import ReviewFailedError
from autoscaler.ports import Clock

KEPT_S: Final = 10.0
"""As long as Kubernetes' own servers keep them, both ways (apiserver, pkg/server/options/{authentication,authorization}.go)."""
RENEWED_FROM_S: Final = 8.0
MOST_KEPT: Final = 16_384
MOST_UNDER_WAY: Final = 512

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class TooManyReviewsError(ReviewFailedError):
    """So many are waited for already that another would only wait as well."""


@dataclass(slots=True)
class _Found(Generic[V]):
    value: V
    asked_at_s: float


@dataclass(slots=True)
class _Failed:
    words: str
    failed_at_s: float
    until_s: float
    backoff: Backoff


class ReviewCache(Generic[K, V]):
    """renewed: whether an answer like this is worth renewing while it is in use.

    An answer is as old as the asking for it: none is served KEPT_S after what it says may have changed. hits: answers from memory.
    """

    def __init__(self, *, clock: Clock, rng: np.random.Generator, renewed: Callable[[V], bool] = lambda value: False) -> None:
        self.hits = 0
        self._clock = clock
        self._rng = rng
        self._renewed = renewed
        self._found: dict[K, _Found[V]] = {}  # oldest first
        self._failed: dict[K, _Failed] = {}
        self._under_way: dict[K, asyncio.Task[V]] = {}

    def __len__(self) -> int:
        return len(self._found)

    async def get(self, key: K, ask: Callable[[], Awaitable[V]]) -> V:
        """What `ask` found not long ago, or finds now. Raises ReviewFailedError."""
        found = self._found.get(key)
        if found is not None:
            age_s = self._clock.monotonic_s() - found.asked_at_s
            if age_s < KEPT_S:
                self.hits += 1
                if age_s >= RENEWED_FROM_S and self._renewed(found.value):
                    self._renew(key, ask)
                return found.value
        task = self._under_way.get(key)
        if task is None:
            self._refuse_storm(key)
            task = self._start(key, ask)
        # Whoever gives up waiting does not take the answer from the others.
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Gives up what is under way."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _refuse_storm(self, key: K) -> None:
        failed = self._failed.get(key)
        now_s = self._clock.monotonic_s()
        if failed is not None and now_s < failed.until_s:
            raise ReviewFailedError(
                f"{failed.words}; that was {now_s - failed.failed_at_s:.1f} s ago, and is tried again in {failed.until_s - now_s:.1f} s"
            )
        if len(self._under_way) >= MOST_UNDER_WAY:
            raise TooManyReviewsError(f"{MOST_UNDER_WAY} reviews are under way already")

    def _renew(self, key: K, ask: Callable[[], Awaitable[V]]) -> None:
        failed = self._failed.get(key)
        waiting = failed is not None and self._clock.monotonic_s() < failed.until_s
        if key not in self._under_way and not waiting and len(self._under_way) < MOST_UNDER_WAY:
            self._start(key, ask)

    def _start(self, key: K, ask: Callable[[], Awaitable[V]]) -> asyncio.Task[V]:
        task = asyncio.create_task(self._review(key, ask, self._clock.monotonic_s()))
        self._under_way[key] = task
        task.add_done_callback(lambda done: self._landed(key, done))
        return task

    def _landed(self, key: K, task: asyncio.Task[V]) -> None:
        del self._under_way[key]
        if not task.cancelled():
            task.exception()  # looked at, also where nobody waited for it

    async def _review(self, key: K, ask: Callable[[], Awaitable[V]], asked_at_s: float) -> V:
        try:
            value = await ask()
        except ReviewFailedError as fault:
            self._note(key, str(fault))
            raise
        self._failed.pop(key, None)
        self._found.pop(key, None)
        self._found[key] = _Found(value, asked_at_s)
        self._forget_old()
        return value

    def _note(self, key: K, words: str) -> None:
        failed = self._failed.pop(key, None)
        backoff = Backoff(self._rng, 1.0, 10.0) if failed is None else failed.backoff
        now_s = self._clock.monotonic_s()
        self._failed[key] = _Failed(words, now_s, now_s + backoff.next_s(), backoff)
        while len(self._failed) > MOST_KEPT:
            del self._failed[next(iter(self._failed))]

    def _forget_old(self) -> None:
        too_old_s = self._clock.monotonic_s() - KEPT_S
        while self._found:
            oldest = next(iter(self._found))
            if len(self._found) <= MOST_KEPT and self._found[oldest].asked_at_s > too_old_s:
                break
            del self._found[oldest]
