"""The election under faults: never two at once, and each knows by itself when it no longer leads."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

from autoscaler.adapters.kubernetes.api import HttpKubeApi
from autoscaler.adapters.kubernetes.lease import LEASE_NAME, LeaseElection, LeaseSettings
from tests.adapters.kubernetes.conftest import until
from tests.fakes.kube_api import FakeKubeApi

QUICK = LeaseSettings(lease_s=1.0, renew_deadline_s=0.6, retry_s=0.1, call_timeout_s=0.25)


class OwnClock:
    """A clock whose monotonic time can be pushed on, as it seems to a process that was frozen; its wall clock may be wrong."""

    def __init__(self, wall_offset_s: float = 0.0) -> None:
        self.frozen_s = 0.0
        self.wall_offset_s = wall_offset_s

    def now_s(self) -> float:
        return time.time() + self.wall_offset_s

    def monotonic_s(self) -> float:
        return time.monotonic() + self.frozen_s

    async def sleep_until(self, at_s: float) -> None:
        await asyncio.sleep(max(0.0, at_s - self.now_s()))


def candidate(api: HttpKubeApi, name: str, clock: OwnClock | None = None, **how: Any) -> LeaseElection:
    return LeaseElection(
        api,
        namespace="system",
        identity=name,
        clock=clock or OwnClock(),
        rng=np.random.default_rng(3),
        settings=QUICK,
        **how,
    )


class Running:
    """`async with Running(election)`: cancelled, and so given back, at the end."""

    def __init__(self, *elections: LeaseElection) -> None:
        self.elections = elections
        self.tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Running:
        self.tasks = [asyncio.create_task(election.run()) for election in self.elections]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


def holder(fake: FakeKubeApi) -> str:
    return str(fake.get("leases", LEASE_NAME, "system")["spec"]["holderIdentity"])


async def test_one_of_many(fake: FakeKubeApi, api: HttpKubeApi) -> None:
    candidates = [candidate(api, f"c{number}") for number in range(5)]
    async with Running(*candidates):
        await until(lambda: any(c.is_leader() for c in candidates))
        for _ in range(20):
            assert sum(c.is_leader() for c in candidates) == 1
            await asyncio.sleep(0.02)
        assert {c.leader for c in candidates} == {holder(fake)}


async def test_a_frozen_leader_knows_at_once(fake: FakeKubeApi, api: HttpKubeApi) -> None:
    clock = OwnClock()
    lost = asyncio.Event()

    async def on_lost() -> None:
        lost.set()

    election = candidate(api, "frozen", clock, on_lost=on_lost)
    async with Running(election):
        await until(election.is_leader)
        clock.frozen_s = QUICK.renew_deadline_s
        assert not election.is_leader()  # before any task of ours has run again
        await asyncio.wait_for(lost.wait(), 2)
        await until(election.is_leader)  # nobody else wanted it


async def test_a_dead_leader_is_followed_when_its_lease_runs_out(fake: FakeKubeApi, api: HttpKubeApi) -> None:
    dead = candidate(api, "dead")
    async with Running(dead) as running:
        await until(dead.is_leader)
        heir = candidate(api, "heir")
        async with Running(heir):
            await until(lambda: heir.leader == "dead")
            # As a kill would: no release.
            fake.fail("PUT", LEASE_NAME, status=500)
            running.tasks[0].cancel()
            with suppress(asyncio.CancelledError):
                await running.tasks[0]
            began_s = time.monotonic()
            await until(heir.is_leader)
            took_s = time.monotonic() - began_s
            assert QUICK.renew_deadline_s < took_s < QUICK.retry_s + QUICK.lease_s + 0.5
            assert fake.get("leases", LEASE_NAME, "system")["spec"]["leaseTransitions"] == 1


@pytest.mark.parametrize("how", [{"hang": True}, {"status": 500}, {"status": 429}, {"drop": True}])
async def test_who_cannot_renew_stops_before_another_starts(fake: FakeKubeApi, api: HttpKubeApi, how: dict[str, Any]) -> None:
    first = candidate(api, "first")
    async with Running(first):
        await until(first.is_leader)
        # Only the first's writes fail; those of others are POST or come after it lost.
        refused = fake.fail("PUT", LEASE_NAME, times=1e9, **how)
        await until(lambda: not first.is_leader(), 3)
        assert holder(fake) == "first"  # the lease itself still runs
        # A handful of tries; aiohttp sends a PUT once more by itself where a kept connection turns out to be dead.
        assert 1e9 - refused.times <= (32 if "drop" in how else 16)
        refused.times = 0
        await until(first.is_leader)


async def test_an_answer_that_was_lost_does_not_cost_the_lease(fake: FakeKubeApi, api: HttpKubeApi) -> None:
    first = candidate(api, "first")
    async with Running(first):
        await until(first.is_leader)
        # The write arrives, the answer does not: our resourceVersion is stale from then on.
        fake.patch("leases", LEASE_NAME, {"spec": {"renewTime": "2026-01-01T00:00:00.000000Z"}}, "system")
        for _ in range(30):
            assert first.is_leader()
            await asyncio.sleep(0.02)


async def test_somebody_who_takes_the_lease_has_it(fake: FakeKubeApi, api: HttpKubeApi) -> None:
    first = candidate(api, "first")
    async with Running(first):
        await until(first.is_leader)
        fake.patch("leases", LEASE_NAME, {"spec": {"holderIdentity": "thief", "leaseDurationSeconds": 30}}, "system")
        await until(lambda: not first.is_leader())
        assert holder(fake) == "thief"
    assert holder(fake) == "thief"  # and it is not given back by who has it no more


async def test_wrong_wall_clocks_and_labels_decide_nothing(fake: FakeKubeApi, api: HttpKubeApi) -> None:
    leader = candidate(api, "leader", OwnClock(wall_offset_s=-7200))
    other = candidate(api, "other", OwnClock(wall_offset_s=+7200))
    async with Running(leader):
        await until(leader.is_leader)
        async with Running(other):
            began_s = time.monotonic()
            while time.monotonic() < began_s + 1.5 * QUICK.lease_s:
                fake.patch("leases", LEASE_NAME, {"metadata": {"labels": {"seen": str(time.monotonic())}}}, "system")
                assert leader.is_leader()
                assert not other.is_leader()
                await asyncio.sleep(0.05)
    # A dead leader is not kept alive by somebody who labels its lease.
    fake.patch("leases", LEASE_NAME, {"spec": {"holderIdentity": "dead", "leaseDurationSeconds": 1}}, "system")
    async with Running(candidate(api, "late")) as running:
        late = running.elections[0]
        began_s = time.monotonic()
        while not late.is_leader():
            assert time.monotonic() < began_s + 3
            fake.patch("leases", LEASE_NAME, {"metadata": {"labels": {"seen": str(time.monotonic())}}}, "system")
            await asyncio.sleep(0.05)


async def test_times_are_written_in_utc(fake: FakeKubeApi, api: HttpKubeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        election = candidate(api, "far-away")
        async with Running(election):
            await until(election.is_leader)
            written = fake.get("leases", LEASE_NAME, "system")["spec"]["renewTime"]
    finally:
        monkeypatch.undo()
        time.tzset()
    assert os.environ.get("TZ") != "America/New_York"
    assert abs(time.mktime(time.strptime(written[:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone - time.time()) < 60


def test_settings_that_would_let_two_lead_are_refused() -> None:
    with pytest.raises(ValueError, match="two could lead"):
        LeaseSettings(lease_s=5, renew_deadline_s=5)
