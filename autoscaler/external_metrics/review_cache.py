"""What reviews found, for a few seconds: one review for all who ask the same, and no storm while reviews fail."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import numpy as np

from autoscaler.backoff import Backoff
from autoscaler.external_metrics.reviews import ReviewFailedError
from autoscaler.ports import Clock

KEPT_S: Final = 10.0
"""As long as Kubernetes' own servers keep them, both ways (apiserver, pkg/server/options/{authentication,authorization}.go)."""
RENEWED_FROM_S: Final = 8.0
RENEWAL_S: Final = 0.5
"""Between two looks for what is to be renewed."""
MOST_RENEWED: Final = 64
"""With each look: what a client that asks for ten thousand things costs the API server stays within what its own clients may."""
IN_USE_S: Final = 35.0
"""So long after it was last asked for. An HPA asks every 15 s, or 30 s where somebody has chosen that: without this it would be each of
its requests that waits for a review, as it is with Kubernetes' own servers."""
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
    used_at_s: float
    again: Callable[[], Awaitable[V]] | None
    """How to renew it; None where it is not to be renewed, so that nothing of what was asked is kept."""


@dataclass(slots=True)
class _Failed:
    words: str
    failed_at_s: float
    until_s: float
    backoff: Backoff


class ReviewCache(Generic[K, V]):
    """renewed: whether an answer like this is worth renewing while it is in use, so that nobody waits for it.

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
        self._renewing: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._found)

    async def get(self, key: K, ask: Callable[[], Awaitable[V]]) -> V:
        """What `ask` found not long ago, or finds now. Raises ReviewFailedError."""
        found = self._found.get(key)
        now_s = self._clock.monotonic_s()
        if found is not None:
            found.used_at_s = now_s
            if now_s - found.asked_at_s < KEPT_S:
                self.hits += 1
                return found.value
        task = self._under_way.get(key)
        if task is None:
            self._refuse_storm(key)
            task = self._start(key, ask)
        # Whoever gives up waiting does not take the answer from the others.
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Gives up what is under way."""
        tasks: list[asyncio.Task[Any]] = list(self._under_way.values())
        if self._renewing is not None:
            tasks.append(self._renewing)
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

    def renew_due(self) -> None:
        """Asks anew for what is in use and soon too old; done by itself, while there is something to renew."""
        self._forget_old()
        now_s = self._clock.monotonic_s()
        left = MOST_RENEWED
        for key, found in self._found.items():
            if left == 0 or now_s - found.asked_at_s < RENEWED_FROM_S:
                break
            failed = self._failed.get(key)
            if (
                found.again is not None
                and now_s - found.used_at_s < IN_USE_S
                and key not in self._under_way
                and (failed is None or now_s >= failed.until_s)
                and len(self._under_way) < MOST_UNDER_WAY
            ):
                self._start(key, found.again)
                left -= 1

    async def _renew(self) -> None:
        while any(found.again is not None for found in self._found.values()):
            await asyncio.sleep(RENEWAL_S)
            self.renew_due()

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
        before = self._found.pop(key, None)
        again = ask if self._renewed(value) else None
        used_at_s = asked_at_s if before is None else before.used_at_s
        self._found[key] = _Found(value, asked_at_s, used_at_s, again)
        self._forget_old()
        if again is not None and (self._renewing is None or self._renewing.done()):
            self._renewing = asyncio.create_task(self._renew())
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
