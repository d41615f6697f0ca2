"""The election's record at the API server: taken, renewed, given back, taken over, never by two."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress

import numpy as np

from autoscaler.adapters.kubernetes.lease import LEASE_NAME, LEASES, LeaseElection, LeaseSettings
from autoscaler.clock import SystemClock
from tests.contract.kubernetes.conftest import Server

QUICK = LeaseSettings(lease_s=1.0, renew_deadline_s=0.6, retry_s=0.1, call_timeout_s=0.5)


def candidate(server: Server, name: str) -> LeaseElection:
    return LeaseElection(
        server.api,
        namespace=server.namespace,
        identity=name,
        clock=SystemClock(),
        rng=np.random.default_rng(3),
        settings=QUICK,
    )


async def stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_one_leads_and_hands_over(server: Server) -> None:
    first, second = candidate(server, "first"), candidate(server, "second")
    running = asyncio.create_task(first.run())
    async with asyncio.timeout(10):
        await first.started.wait()
    waiting = asyncio.create_task(second.run())
    lease = await server.get(LEASES, LEASE_NAME)
    assert lease["spec"]["holderIdentity"] == "first"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", lease["spec"]["renewTime"])

    renewed = lease["spec"]["renewTime"]
    # It stays with the first for longer than the lease, since it is renewed.
    async with asyncio.timeout(10):
        while (await server.get(LEASES, LEASE_NAME))["spec"]["renewTime"] == renewed:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    with suppress(TimeoutError):
        await asyncio.wait_for(second.started.wait(), 1.5 * QUICK.lease_s)
    assert first.is_leader()
    assert not second.is_leader()

    # A clean stop gives it back: the second leads well before the lease would have run out.
    began_s = asyncio.get_running_loop().time()
    await stop(running)
    assert not first.is_leader()
    async with asyncio.timeout(10):
        await second.started.wait()
    assert asyncio.get_running_loop().time() - began_s < QUICK.lease_s
    lease = await server.get(LEASES, LEASE_NAME)
    assert (lease["spec"]["holderIdentity"], lease["spec"]["leaseTransitions"]) == ("second", 1)
    await stop(waiting)
