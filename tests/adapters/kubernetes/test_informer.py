"""An informer's copy survives everything that an API server can do to it, without a storm of requests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from autoscaler.adapters.kubernetes.api import HttpKubeApi, Object
from autoscaler.adapters.kubernetes.credentials import Credentials
from autoscaler.adapters.kubernetes.informer import Informer, Key
from autoscaler.adapters.kubernetes.lines import Lines, LineTooLongError
from autoscaler.adapters.kubernetes.pause_switch import CONFIG_MAPS
from tests.adapters.kubernetes.conftest import QUICK, until
from tests.fakes.kube_api import FakeKubeApi


def make(fake: FakeKubeApi, name: str, value: str = "1") -> None:
    fake.create("configmaps", {"metadata": {"name": name}, "data": {"a": value}})


@asynccontextmanager
async def informed(api: HttpKubeApi, **how: Any) -> AsyncIterator[Informer[str]]:
    told: dict[Key, str] = {}

    def changed(key: Key, old: str | None, new: str | None) -> None:
        assert told.get(key) == old
        told.pop(key, None)
        if new is not None:
            told[key] = new

    how.setdefault("transform", lambda item: (item.get("data") or {}).get("a"))
    how.setdefault("settings", QUICK)
    informer: Informer[str] = Informer(
        api, CONFIG_MAPS, on_change=changed, monotonic_s=time.monotonic, rng=np.random.default_rng(1), namespace="team", **how
    )
    task = asyncio.create_task(informer.run())
    try:
        await until(informer.has_synced.is_set)
        yield informer
        assert told == informer.objects
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def names(informer: Informer[str]) -> set[str]:
    return {key[1] for key in informer.objects}


async def test_gone_within_the_watch_means_listing_again(fake: FakeKubeApi, api: HttpKubeApi) -> None:
    make(fake, "stays")
    make(fake, "goes")
    async with informed(api) as informer:
        fake.fail("GET", "/configmaps", watch=True, expired=True)
        await fake.stop()
        fake.delete("configmaps", "goes")  # while nobody watches
        make(fake, "comes")
        fake.store.compact()
        await fake.start()
        await until(lambda: names(informer) == {"stays", "comes"})
        assert informer.lists == 2


async def test_gone_as_an_answer_means_listing_again(fake: FakeKubeApi, api: HttpKubeApi) -> None:
    make(fake, "one")
    fake.fail("GET", "/configmaps", watch=True, status=410)
    async with informed(api) as informer:
        await until(lambda: informer.lists == 2)
        make(fake, "two")
        await until(lambda: names(informer) == {"one", "two"})


async def test_a_restart_of_the_server_goes_on_where_it_was(fake: FakeKubeApi, api: HttpKubeApi) -> None:
    make(fake, "one")
    async with informed(api) as informer:
        await fake.stop()
        make(fake, "two")
        await fake.start()
        await until(lambda: names(informer) == {"one", "two"})
        assert informer.lists == 1


@pytest.mark.parametrize("how", [{"empty": True}, {"status": 500}, {"status": 429, "retry_after_s": 1}, {"drop": True}])
async def test_a_misbehaving_server_is_not_asked_in_a_hot_loop(fake: FakeKubeApi, api: HttpKubeApi, how: dict[str, Any]) -> None:
    make(fake, "one")
    slow = replace(QUICK, backoff_first_s=0.05, backoff_max_s=10.0)
    fault = fake.fail("GET", "/configmaps", watch=True, times=1e9, **how)
    async with informed(api, settings=slow) as informer:
        began_s = time.monotonic()
        await until(lambda: time.monotonic() > began_s + 1.0)
        # 0.05 + 0.1 + 0.2 + 0.4 … halved at most by jitter: a handful, where a loop without backoff makes a thousand.
        # aiohttp itself asks once more where a kept connection turns out to be dead.
        assert 1e9 - fault.times <= (16 if "drop" in how else 8)
        fault.times = 0
        make(fake, "two")
        await until(lambda: names(informer) == {"one", "two"}, 15)


async def test_the_servers_retry_after_is_kept(fake: FakeKubeApi, api: HttpKubeApi) -> None:
    fake.fail("GET", "/configmaps", watch=False, status=429, retry_after_s=1)
    began_s = time.monotonic()
    async with informed(api):
        assert time.monotonic() - began_s >= 1.0


async def test_a_hanging_server_is_given_up_and_asked_again(fake: FakeKubeApi, api: HttpKubeApi) -> None:
    fake.fail("GET", "/configmaps", watch=False, hang=True)
    make(fake, "one")
    async with informed(api, settings=replace(QUICK, list_timeout_s=0.1)) as informer:
        assert names(informer) == {"one"}


async def test_a_line_beyond_the_limit_is_got_around_by_listing(fake: FakeKubeApi, api: HttpKubeApi) -> None:
    make(fake, "one")
    fake.fail("GET", "/configmaps", watch=True, line_bytes=300_000)
    async with informed(api, settings=replace(QUICK, largest_line_bytes=100_000)) as informer:
        await until(lambda: informer.lists == 2)
        make(fake, "two")
        await until(lambda: names(informer) == {"one", "two"})


async def test_large_objects_come_through(fake: FakeKubeApi, api: HttpKubeApi) -> None:
    async with informed(api) as informer:
        make(fake, "large", "x" * 6_000_000)
        await until(lambda: names(informer) == {"large"})
        assert informer.lists == 1


async def test_a_page_beyond_the_limit_is_asked_for_in_smaller_ones(fake: FakeKubeApi) -> None:
    for number in range(20):
        make(fake, f"m{number}", "x" * 1000)
    credentials = Credentials(fake.url, monotonic_s=time.monotonic)
    async with HttpKubeApi(credentials, largest_answer_bytes=8000) as api, informed(api) as informer:
        assert len(informer.objects) == 20
        assert informer.lists == 1


async def test_a_list_that_expires_between_pages_begins_anew(fake: FakeKubeApi, api: HttpKubeApi) -> None:
    for number in range(20):
        make(fake, f"m{number}")
    fake.faults.append(_expiring_page())
    async with informed(api, settings=replace(QUICK, page_objects=5)) as informer:
        assert len(informer.objects) == 20


def _expiring_page() -> Any:
    from tests.fakes.kube_api import Fault

    return Fault(lambda _method, _path, query: "continue" in query, status=410)


async def test_an_object_that_makes_no_sense_costs_only_itself(fake: FakeKubeApi, api: HttpKubeApi) -> None:
    def transform(item: Object) -> str:
        return str(item["data"]["a"])

    fake.create("configmaps", {"metadata": {"name": "odd"}})
    make(fake, "one")
    async with informed(api, transform=transform) as informer:
        assert names(informer) == {"one"}
        fake.patch("configmaps", "one", {"data": None})
        await until(lambda: names(informer) == set())
        make(fake, "two")
        await until(lambda: names(informer) == {"two"})
        assert informer.broken_objects == 2


async def test_bookmarks_move_on_and_staleness_is_told(fake: FakeKubeApi, api: HttpKubeApi) -> None:
    async with informed(api) as informer:
        fake.create("secrets", {"metadata": {"name": "elsewhere"}})
        version = fake.store.version
        await until(lambda: informer._version == str(version))
        await until(lambda: informer.staleness_s() < 0.1)
        await fake.stop()
        await until(lambda: informer.staleness_s() > 0.3)
        await fake.start()


async def test_thousands_of_objects_do_not_hold_up_others(fake: FakeKubeApi, api: HttpKubeApi) -> None:
    """No slice may hold up the loop; judged by the slices' number, not by a noisy clock."""
    for number in range(2000):
        make(fake, f"m{number}")
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    async with informed(api) as informer:
        assert len(informer.objects) == 2000
    task.cancel()
    assert turns >= 2000 / QUICK.slice_objects


def test_lines_from_any_chunks() -> None:
    text = b'{"a":1}\n\n{"b":2}\n{"c":3}\npart'
    for size in range(1, len(text) + 1):
        lines = Lines(limit_bytes=20)
        found = [line for at in range(0, len(text), size) for line in lines.feed(text[at : at + size])]
        assert found == [b'{"a":1}', b'{"b":2}', b'{"c":3}']
    lines = Lines(limit_bytes=20)
    with pytest.raises(LineTooLongError):
        list(lines.feed(b"x" * 21))
