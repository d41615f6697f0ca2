"""A keeper that dies between any two writes, whose work another finishes: through the real aggregator, under load."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from autoscaler.adapters.kubernetes.api import JSON, KubeApi, Object, Params
from autoscaler.external_metrics.certificates.keeper import CertificateKeeper
from autoscaler.external_metrics.certificates.stored import Step, Stored
from tests.external_metrics.certificates.aggregated import Load, Replica, World, bundle_of, running


class Deadly:
    """A session with the API server in which the process stops dead at one write: before it was sent, or (`lost`) before its answer came."""

    def __init__(self, real: KubeApi, at_write: int, *, lost: bool) -> None:
        self.dead = asyncio.Event()
        self._real = real
        self._left = at_write
        self._lost = lost

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        body: Any = None,
        content_type: str = JSON,
        timeout_s: float,
    ) -> Object:
        dies = False
        if method != "GET" and not path.endswith("reviews"):
            dies = self._left == 0
            self._left -= 1
        if not dies or self._lost:
            answer = await self._real.request(
                method, path, params=params, body=body, content_type=content_type, timeout_s=timeout_s
            )
            if not dies:
                return answer
        self.dead.set()
        await asyncio.Event().wait()
        raise AssertionError("the dead don't speak")

    def stream(
        self, path: str, *, params: Params, open_timeout_s: float, total_timeout_s: float
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        return self._real.stream(path, params=params, open_timeout_s=open_timeout_s, total_timeout_s=total_timeout_s)


def short(world: World, replica: Replica, api: KubeApi | None = None) -> CertificateKeeper:
    return world.keeper(replica.use, settle_s=0.7, overlap_s=0.7, api=api)


async def finished(world: World, before: Stored | None) -> Stored:
    """The rotation that was begun has come to its end."""
    done = await world.until_secret(
        lambda stored: stored.step is Step.STEADY and stored.is_whole and (before is None or stored.current != before.current)
    )
    await world.until_api_service(lambda item: bundle_of(item) == set(done.bundle))
    return done


@pytest.mark.parametrize("lost", [False, True], ids=["unsent", "unanswered"])
async def test_a_first_start_is_finished_by_another(world: World, lost: bool) -> None:
    async with world.replica() as replica:
        for write in range(2):
            with contextlib.suppress(Exception):
                await world.api.delete(world.secret_path)
            await world.tell(b"")
            deadly = Deadly(world.session, write, lost=lost)
            async with running(short(world, replica, deadly)):
                await asyncio.wait_for(deadly.dead.wait(), 10)
            async with running(short(world, replica)):
                done = await finished(world, None)
                assert len(done.bundle) == 1
                await world.until_served()


@pytest.mark.parametrize("lost", [False, True], ids=["unsent", "unanswered"])
async def test_a_rotation_is_finished_by_another(world: World, lost: bool) -> None:
    async with world.replica() as replica:
        async with running(short(world, replica)):
            await world.until_served()
        async with Load(world):
            for write in range(5):  # Announce, Tell, Switch, Retire, Tell
                before = await world.secret()
                deadly = Deadly(world.session, write, lost=lost)
                first = short(world, replica, deadly)
                await world.annotate("now")
                async with running(first):
                    await asyncio.wait_for(deadly.dead.wait(), 20)
                heir = short(world, replica)
                if write == 0 and not lost:
                    assert await world.secret() == before
                async with running(heir):
                    done = await finished(world, before)
                    assert set(done.bundle).isdisjoint(before.bundle)
                    await asyncio.wait_for(heir.ready.wait(), 10)
                    await asyncio.sleep(0.2)  # load on what is served now
        assert done.current is not None
        assert done.current.serving is not None
        assert replica.used[-1] == done.current.serving.leaf
