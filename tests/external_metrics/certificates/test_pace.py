"""How often something is written that somebody undoes, and by whose clock."""

from __future__ import annotations

import time

import pytest

from autoscaler.adapters.kubernetes.api import HttpKubeApi
from autoscaler.adapters.kubernetes.credentials import Credentials
from autoscaler.clock import ManualClock
from autoscaler.external_metrics.certificates.pace import Pace
from autoscaler.external_metrics.certificates.server_time import ServerTime
from tests.fakes.kube_api import FakeKubeApi


def test_a_few_at_once_and_then_one_in_a_while() -> None:
    clock = ManualClock(5.0)
    pace = Pace(clock.monotonic_s, at_once=3, every_s=10.0)
    assert [pace.wait_s() for _ in range(4)] == [0.0, 0.0, 0.0, 10.0]
    assert not pace.is_rested()
    clock.advance_to(12.0)
    assert pace.wait_s() == pytest.approx(3.0)
    clock.advance_to(15.0)
    assert [pace.wait_s() for _ in range(2)] == [0.0, 10.0]
    clock.advance_to(1000.0)
    assert pace.is_rested()
    assert [pace.wait_s() for _ in range(4)] == [0.0, 0.0, 0.0, 10.0]


async def test_an_api_server_that_does_not_tell_its_time_is_taken_to_agree() -> None:
    clock = ManualClock(1.8e9)
    async with FakeKubeApi() as fake, HttpKubeApi(Credentials(fake.url, monotonic_s=time.monotonic)) as api:
        server = ServerTime(api, clock, tolerance_s=60.0, timeout_s=5.0)
        await server.look()
        assert fake.requests[-1].path == "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    assert server.ahead_s == 0.0
    assert server.now_s() == 1.8e9


@pytest.mark.parametrize(
    ("told", "ahead_s"), [("2027-01-15T08:00:50Z", 0.0), ("2027-01-15T08:02:00Z", 120.0), ("2027-01-15T06:59:59Z", -3600.0)]
)
async def test_the_api_servers_time_counts_beyond_the_tolerance(told: str, ahead_s: float) -> None:
    clock = ManualClock(1.8e9)  # 2027-01-15T08:00:00Z
    async with FakeKubeApi() as fake, HttpKubeApi(Credentials(fake.url, monotonic_s=time.monotonic)) as api:
        fake.fail("POST", "selfsubjectreviews", document={"metadata": {"creationTimestamp": told}})
        server = ServerTime(api, clock, tolerance_s=60.0, timeout_s=5.0)
        await server.look()
    assert server.ahead_s == ahead_s
    assert server.now_s() == 1.8e9 + ahead_s
