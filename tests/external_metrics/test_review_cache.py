"""How long a review's answer holds, who waits for it, and what happens while there is none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import numpy as np
import pytest
import pytest_asyncio

from autoscaler.clock import ManualClock
from autoscaler.external_metrics import review_cache
from autoscaler.external_metrics.review_cache import ReviewCache, TooManyReviewsError
from autoscaler.external_metrics.reviews import ReviewFailedError


class Server:
    """Answers reviews with the number of reviews so far, while `open` is set; with `fault` where there is one."""

    def __init__(self) -> None:
        self.asked = 0
        self.arrived = asyncio.Event()
        self.answered = asyncio.Semaphore(0)
        self.open = asyncio.Event()
        self.open.set()
        self.fault = ""

    async def ask(self) -> int:
        self.asked += 1
        number = self.asked
        if not self.open.is_set():
            self.arrived.set()
        await self.open.wait()
        self.answered.release()
        if self.fault:
            raise ReviewFailedError(self.fault)
        return number


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1000.0)


@pytest_asyncio.fixture(loop_scope="session")
async def cache(clock: ManualClock) -> AsyncIterator[ReviewCache[str, int]]:
    made: ReviewCache[str, int] = ReviewCache(clock=clock, rng=np.random.default_rng(1), renewed=lambda value: True)
    yield made
    await made.close()


async def until_landed(server: Server) -> None:
    """After the review that was under way has been taken in."""
    async with asyncio.timeout(5.0):
        await server.answered.acquire()
    await asyncio.sleep(0)


async def test_an_answer_holds_for_ten_seconds_of_the_clock(cache: ReviewCache[str, int], clock: ManualClock) -> None:
    server = Server()
    assert await cache.get("a", server.ask) == 1
    clock.advance_to(1007.9)
    assert await cache.get("a", server.ask) == 1
    assert await cache.get("b", server.ask) == 2
    clock.advance_to(1010.0)
    assert await cache.get("a", server.ask) == 3
    assert cache.hits == 1


async def test_one_review_serves_all_who_ask_meanwhile(cache: ReviewCache[str, int]) -> None:
    server = Server()
    server.open.clear()
    waiting = [asyncio.create_task(cache.get("a", server.ask)) for _ in range(100)]
    await asyncio.sleep(0)
    waiting[0].cancel()  # who began it gives up
    await asyncio.sleep(0)
    server.open.set()
    assert set(await asyncio.gather(*waiting[1:])) == {1}
    assert server.asked == 1


async def test_an_answer_is_as_old_as_its_question(cache: ReviewCache[str, int], clock: ManualClock) -> None:
    server = Server()
    server.open.clear()
    waiting = asyncio.create_task(cache.get("a", server.ask))
    await asyncio.sleep(0)
    clock.advance_to(1009.0)
    server.open.set()
    assert await waiting == 1
    clock.advance_to(1010.0)
    assert await cache.get("a", server.ask) == 2


async def test_what_is_in_use_is_renewed_before_anybody_has_to_wait(
    cache: ReviewCache[str, int], clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(review_cache, "RENEWAL_S", 0.01)
    server = Server()
    assert await cache.get("a", server.ask) == 1
    await until_landed(server)
    clock.advance_to(1007.9)
    server.open.clear()
    assert await cache.get("a", server.ask) == 1
    clock.advance_to(1008.0)
    async with asyncio.timeout(5.0):
        await server.arrived.wait()
    assert server.asked == 2
    assert [await cache.get("a", server.ask) for _ in range(5)] == [1] * 5  # nobody waits for it
    server.open.set()
    await until_landed(server)
    clock.advance_to(1015.9)
    assert await cache.get("a", server.ask) == 2


async def test_who_asks_every_fifteen_seconds_waits_once(cache: ReviewCache[str, int], clock: ManualClock) -> None:
    server = Server()
    waited = 0
    for step in range(2 * 120):
        if step % 30 == 0:
            hits = cache.hits
            await cache.get("a", server.ask)
            waited += cache.hits == hits
        await looked(cache, clock)
    assert waited == 1
    assert server.asked <= 16
    # Nobody asks any more: it is forgotten.
    for _ in range(2 * 50):
        await looked(cache, clock)
    asked = server.asked
    assert len(cache) == 0
    for _ in range(2 * 50):
        await looked(cache, clock)
    assert server.asked == asked


async def looked(cache: ReviewCache[str, int], clock: ManualClock) -> None:
    """Half a second later, and after all that was then asked for has landed."""
    clock.advance_to(clock.now_s() + 0.5)
    cache.renew_due()
    for _ in range(5):
        await asyncio.sleep(0)


async def test_so_many_are_renewed_at_once_and_no_more(cache: ReviewCache[str, int], clock: ManualClock) -> None:
    server = Server()
    for number in range(200):
        await cache.get(str(number), server.ask)
    clock.advance_to(1009.0)
    cache.renew_due()
    await asyncio.sleep(0)
    assert server.asked == 200 + review_cache.MOST_RENEWED


async def test_a_renewal_that_hangs_or_fails_makes_nothing_older_than_ten_seconds(
    cache: ReviewCache[str, int], clock: ManualClock
) -> None:
    server = Server()
    assert await cache.get("a", server.ask) == 1
    clock.advance_to(1008.0)
    server.open.clear()
    cache.renew_due()
    assert await cache.get("a", server.ask) == 1
    clock.advance_to(1010.0)
    waiting = asyncio.create_task(cache.get("a", server.ask))
    await asyncio.sleep(0)
    server.fault = "no answer"
    server.open.set()
    with pytest.raises(ReviewFailedError, match="no answer"):
        await waiting


async def test_a_renewal_that_failed_is_not_tried_with_every_look(cache: ReviewCache[str, int], clock: ManualClock) -> None:
    server = Server()
    await cache.get("a", server.ask)
    server.fault = "no answer"
    clock.advance_to(1008.0)
    for _ in range(10):
        cache.renew_due()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert await cache.get("a", server.ask) == 1
    assert server.asked == 2


async def test_what_is_not_worth_it_is_not_renewed(clock: ManualClock) -> None:
    cache: ReviewCache[str, int] = ReviewCache(clock=clock, rng=np.random.default_rng(1))
    server = Server()
    await cache.get("a", server.ask)
    clock.advance_to(1009.0)
    assert await cache.get("a", server.ask) == 1
    cache.renew_due()
    await asyncio.sleep(0)
    assert server.asked == 1


async def test_failures_are_not_kept_and_make_no_storm(cache: ReviewCache[str, int], clock: ManualClock) -> None:
    server = Server()
    server.fault = "the API server gave no answer"
    asked = []
    for _ in range(600):  # one minute of ten requests a second
        with pytest.raises(ReviewFailedError, match="the API server gave no answer"):
            await cache.get("a", server.ask)
        asked.append(server.asked)
        clock.advance_to(clock.now_s() + 0.1)
    assert asked[0] == 1
    assert 6 <= server.asked <= 20
    with pytest.raises(ReviewFailedError, match=r"\d s ago, and is tried again in \d+\.\d s"):
        await cache.get("a", server.ask)
    server.fault = ""
    assert await cache.get("b", server.ask) == server.asked  # others are asked for
    clock.advance_to(clock.now_s() + 10.0)
    assert await cache.get("a", server.ask) == server.asked


async def test_it_keeps_so_many_and_the_newest(
    cache: ReviewCache[str, int], clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(review_cache, "MOST_KEPT", 100)
    server = Server()
    for number in range(1000):
        await cache.get(str(number), server.ask)
        clock.advance_to(1000.0 + number / 1000)
    assert len(cache) == 100
    assert await cache.get("999", server.ask) == 1000
    clock.advance_to(1020.0)
    await cache.get("new", server.ask)
    assert len(cache) == 1
    server.fault = "no"
    for number in range(1000):
        with pytest.raises(ReviewFailedError):
            await cache.get(f"bad {number}", server.ask)
    assert len(cache._failed) == 100


async def test_so_many_wait_and_no_more(cache: ReviewCache[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(review_cache, "MOST_UNDER_WAY", 10)
    server = Server()
    server.open.clear()
    waiting = [asyncio.create_task(cache.get(str(number), server.ask)) for number in range(10)]
    await asyncio.sleep(0)
    with pytest.raises(TooManyReviewsError, match="10 reviews are under way"):
        await cache.get("another", server.ask)
    joining = asyncio.create_task(cache.get("3", server.ask))
    await asyncio.sleep(0)
    server.open.set()
    assert sorted(await asyncio.gather(*waiting)) == list(range(1, 11))
    assert await joining == 4
    assert await cache.get("another", server.ask) == 11


async def test_closing_gives_up_what_is_under_way(cache: ReviewCache[str, int]) -> None:
    server = Server()
    server.open.clear()
    ask: Callable[[], Awaitable[int]] = server.ask
    waiting = asyncio.create_task(cache.get("a", ask))
    await asyncio.sleep(0)
    await cache.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
