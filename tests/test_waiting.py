from __future__ import annotations

import asyncio

import pytest

from autoscaler.waiting import News, first_of


async def test_the_first_ends_the_wait_and_the_others() -> None:
    given_up = asyncio.Event()

    async def long() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            given_up.set()

    await first_of(long(), asyncio.sleep(0.01))
    assert given_up.is_set()


async def test_a_fault_of_the_first_is_told() -> None:
    async def failing() -> None:
        raise OSError("broken")

    with pytest.raises(OSError, match="broken"):
        await first_of(asyncio.Event().wait(), failing())


async def test_news_are_waited_for_by_several_each_from_what_they_have_seen() -> None:
    news = News()
    waiting = [asyncio.create_task(news.after(0, 5.0)) for _ in range(2)]
    await asyncio.sleep(0)
    news.tell()
    assert await asyncio.gather(*waiting) == [True, True]
    assert await news.after(0, 5.0)
    assert not await news.after(news.count, 0.01)
