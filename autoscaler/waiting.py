"""Waiting for the first of several things, and for news that several wait for, each at their own pace."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


async def first_of(*waits: Coroutine[Any, Any, object]) -> None:
    """Returns when one of them has ended, with its fault where it has one. The others are given up, and have ended, too, by then."""
    tasks = [asyncio.ensure_future(one) for one in waits]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class News:
    """count: rises with each piece of news. Nothing is queued: whoever was busy meanwhile learns that there is something newer."""

    def __init__(self) -> None:
        self.count = 0
        self._told = asyncio.Event()

    def tell(self) -> None:
        """There is something new."""
        self.count += 1
        self._told.set()
        self._told = asyncio.Event()

    async def after(self, seen: int, timeout_s: float) -> bool:
        """Waits until `count` is no longer `seen`; False where that took too long."""
        if self.count != seen:
            return True
        # No wait_for: before Python 3.12 it swallows a cancellation that comes together with the event.
        try:
            async with asyncio.timeout(timeout_s):
                await self._told.wait()
        except TimeoutError:
            return False
        return True
