"""What people read on an AcceleratorPool: planned, asked, ready, who owns it, and why."""

from __future__ import annotations

from typing import Any

import msgspec

from autoscaler.adapters.kubernetes.api import HttpKubeApi
from autoscaler.adapters.kubernetes.pool_reporter import PoolReporter
from autoscaler.core.model import PoolSpec
from autoscaler.ports import PoolTold
from autoscaler.spec import AcceleratorPoolStatus
from tests.fakes.kube_api import FakeKubeApi
from tests.ticks import a_controller, a_spec

POOL = PoolSpec(name="h100", min_nodes=0, max_nodes=9, accelerators_per_node=8)
COMING = PoolTold(asked=3, ready=2, owner="", ok=True, reason="Scaling", message="asked for 3, ready 2")
THERE = PoolTold(asked=3, ready=3, owner="", ok=True, reason="Reconciled", message="asked for 3, ready 3")
OWNED = PoolTold(asked=3, ready=3, owner="Argo CD", ok=False, reason="OwnedElsewhere", message="Argo CD applies it")


def status(fake: FakeKubeApi) -> dict[str, Any]:
    found: dict[str, Any] = fake.get("acceleratorpools", "h100", namespace="")["status"]
    msgspec.convert(found, AcceleratorPoolStatus)  # what the schema of the CRD allows
    return found


async def test_what_is_told_is_written_when_it_changes(fake: FakeKubeApi, api: HttpKubeApi) -> None:
    fake.create("acceleratorpools", {"metadata": {"name": "h100"}, "spec": {"maxNodes": 9}}, namespace="")
    told = {"h100": COMING}
    reporter = PoolReporter(api, lambda: True, lambda: told)
    controller, cluster, _, clock = a_controller([a_spec(pool="h100")], lambda _at_s, _row: 20.0, reporters=[reporter])
    cluster.changes = {"pools": (POOL,)}

    async def tick() -> int:
        """How many requests it took."""
        before = len(fake.requests)
        clock.advance_to(clock.now_s() + 15.0)
        await controller.tick()
        assert controller.reporter_failures == 0
        return len(fake.requests) - before

    assert await tick() == 1
    first = status(fake)
    assert "leaving" in first["reason"]
    assert await tick() == 1, "those that were told to go have gone"
    assert status(fake)["conditions"] == first["conditions"]
    assert (first["askedNodes"], first["nodes"], "owner" in first) == (3, 2, False)
    (ready,) = first["conditions"]
    assert (ready["type"], ready["status"], ready["reason"], ready["message"]) == ("Ready", "True", "Scaling", COMING.message)
    assert await tick() == 0, "nothing changed"
    told["h100"] = THERE
    assert await tick() == 1
    assert status(fake)["conditions"][0]["lastTransitionTime"] == ready["lastTransitionTime"], "it is ready still"
    told["h100"] = OWNED
    assert await tick() == 1
    assert status(fake)["owner"] == "Argo CD"
    assert status(fake)["conditions"][0]["status"] == "False"
    assert status(fake)["conditions"][0]["lastTransitionTime"] != ready["lastTransitionTime"]
    told["h100"] = THERE
    assert await tick() == 1
    assert "owner" not in status(fake)


async def test_without_anything_told_only_the_plan_is_written(fake: FakeKubeApi, api: HttpKubeApi) -> None:
    fake.create("acceleratorpools", {"metadata": {"name": "h100"}, "spec": {"maxNodes": 9}}, namespace="")
    reporter = PoolReporter(api, lambda: True)
    controller, cluster, _, _ = a_controller([a_spec(pool="h100")], lambda _at_s, _row: 20.0, reporters=[reporter])
    cluster.changes = {"pools": (POOL,)}
    await controller.tick()
    assert set(status(fake)) == {"plannedNodes", "reason"}
