"""An informer's copy equals what the server has: paged lists, watches, selectors, deletions."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np

from autoscaler.adapters.kubernetes.api import Object
from autoscaler.adapters.kubernetes.discovery import Resource
from autoscaler.adapters.kubernetes.informer import Informer, InformerSettings, Key
from tests.contract.kubernetes.conftest import Server

CONFIG_MAPS = Resource(group="", version="v1", plural="configmaps", kind="ConfigMap")


class Copy:
    """What an informer told, with a way to wait for it."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str | None, str | None]] = []
        self._news = asyncio.Event()

    def take(self, item: Object) -> str | None:
        return (item.get("data") or {}).get("a")

    def changed(self, key: Key, old: str | None, new: str | None) -> None:
        self.told.append((key[1], old, new))
        self._news.set()

    async def until(self, wanted: tuple[str, str | None, str | None]) -> None:
        async with asyncio.timeout(10):
            while wanted not in self.told:
                self._news.clear()
                await self._news.wait()


@asynccontextmanager
async def informed(server: Server, rng: np.random.Generator, **how: Any) -> AsyncIterator[tuple[Informer[str], Copy]]:
    copy = Copy()
    informer = Informer(
        server.api,
        CONFIG_MAPS,
        transform=copy.take,
        on_change=copy.changed,
        monotonic_s=time.monotonic,
        rng=rng,
        namespace=server.namespace,
        **how,
    )
    task = asyncio.create_task(informer.run())
    try:
        async with asyncio.timeout(10):
            await informer.has_synced.wait()
        yield informer, copy
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_pages_changes_and_deletions(server: Server, rng: np.random.Generator) -> None:
    for number in range(23):
        await server.create(CONFIG_MAPS, {"metadata": {"name": f"m{number}"}, "data": {"a": str(number)}})
    async with informed(server, rng, settings=InformerSettings(page_objects=5)) as (informer, copy):
        assert {key[1]: value for key, value in informer.objects.items()} == {f"m{n}": str(n) for n in range(23)}
        assert server.api.requests["list", "configmaps", 200] >= 5
        await server.create(CONFIG_MAPS, {"metadata": {"name": "new"}, "data": {"a": "x"}})
        await copy.until(("new", None, "x"))
        await server.patch(CONFIG_MAPS, "new", {"data": {"a": "y"}})
        await copy.until(("new", "x", "y"))
        await server.delete(CONFIG_MAPS, "new")
        await copy.until(("new", "y", None))
        assert len(informer.objects) == 23
        assert informer.lists == 1
        assert informer.staleness_s() < 10


async def test_selectors(server: Server, rng: np.random.Generator) -> None:
    await server.create(CONFIG_MAPS, {"metadata": {"name": "in", "labels": {"team": "a"}}, "data": {"a": "1"}})
    await server.create(CONFIG_MAPS, {"metadata": {"name": "out", "labels": {"team": "b"}}, "data": {"a": "1"}})
    async with informed(server, rng, label_selector="team=a") as (informer, copy):
        assert list(informer.objects) == [(server.namespace, "in")]
        await server.patch(CONFIG_MAPS, "out", {"metadata": {"labels": {"team": "a"}}})
        await copy.until(("out", None, "1"))
        await server.patch(CONFIG_MAPS, "in", {"metadata": {"labels": {"team": "b"}}})
        await copy.until(("in", "1", None))
    async with informed(server, rng, field_selector="metadata.name=in") as (informer, _):
        assert list(informer.objects) == [(server.namespace, "in")]


async def test_short_watches_go_on_where_they_ended(server: Server, rng: np.random.Generator) -> None:
    async with informed(server, rng, settings=InformerSettings(watch_s=(1.0, 1.0))) as (informer, copy):
        for number in range(4):
            await server.create(CONFIG_MAPS, {"metadata": {"name": f"n{number}"}, "data": {"a": "1"}})
            await copy.until((f"n{number}", None, "1"))
            async with asyncio.timeout(10):
                before = informer.watches
                while informer.watches == before:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
        assert informer.lists == 1
