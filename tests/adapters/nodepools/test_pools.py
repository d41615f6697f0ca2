"""Many pools in a tick: errors by pool in words, nobody waits for a slow one, no order twice, one owner."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autoscaler.adapters.kubernetes.api import HttpKubeApi
from autoscaler.adapters.kubernetes.credentials import Credentials
from autoscaler.adapters.kubernetes.pool_reporter import PoolReporter
from autoscaler.adapters.nodepools.backend import Backend
from autoscaler.adapters.nodepools.pools import BackendPools
from autoscaler.adapters.nodepools.scale import MAX_SIZE
from autoscaler.adapters.telemetry.decision_log import DecisionLog
from autoscaler.adapters.telemetry.records import RecordWriter
from autoscaler.clock import ManualClock
from autoscaler.core.model import Plan, PoolSpec
from autoscaler.ports import NodePools
from autoscaler.spec import PoolBackend
from tests.adapters.nodepools.beds import Bed, bed_of
from tests.ticks import a_controller, a_spec

TICK_S = 2.0


def plan(taken: int = 0, **nodes: int) -> Plan:
    none = np.zeros(0, dtype=np.int64)
    return Plan(at_s=0.0, replicas=none, act=none.astype(bool), headroom=none, nodes=nodes, taken=dict.fromkeys(nodes, taken))


def spec(name: str, *, low: int = 0, high: int = 50, **settings: Any) -> PoolSpec:
    # The type only has to be another than DryRun: the tests hand the backend in.
    backend = PoolBackend(type="EKS", **{"cool_down": "0s", **settings})
    return PoolSpec(name=name, min_nodes=low, max_nodes=high, accelerators_per_node=8, backend=backend)


@asynccontextmanager
async def pools_over(beds: dict[str, Bed], **settings: Any) -> AsyncIterator[BackendPools]:
    """Pools by name over beds."""

    def make(pool: PoolSpec, _settings: PoolBackend) -> Backend | None:
        return beds[pool.name].again()

    first = next(iter(beds.values()))
    settings = {"clock": first.clock, "rng": np.random.default_rng(1), **settings}
    pools = BackendPools(make, **settings)
    try:
        yield pools
    finally:
        await pools.close()


@asynccontextmanager
async def beds_of(folder: Path, *names: str) -> AsyncIterator[dict[str, Bed]]:
    async with AsyncExitStack() as stack:
        made = {}
        for name in names:
            (folder / name).mkdir()
            made[name] = await stack.enter_async_context(bed_of(name, folder / name))
        yield made


async def test_all_clouds_beside_each_other(tmp_path: Path) -> None:
    async with beds_of(tmp_path, "gke", "eks", "aks", "webhook", "scale") as beds, pools_over(beds) as pools:
        port: NodePools = pools
        specs = [spec(name) for name in beds]
        assert await port.act(specs, plan(**dict.fromkeys(beds, 6)), TICK_S) == {}
        assert {name: bed.target() for name, bed in beds.items()} == dict.fromkeys(beds, 6)
        told = pools.told()
        assert {name: one.ready for name, one in told.items()} == dict.fromkeys(beds, 2)
        assert {one.reason for one in told.values()} == {"Scaling"}
        assert all(one.ok and one.asked == 6 for one in told.values())


async def test_a_slow_pool_keeps_nobody_waiting_and_is_asked_once(tmp_path: Path) -> None:
    async with beds_of(tmp_path, "eks", "aks") as beds, pools_over(beds) as pools:
        beds["eks"].fail(method="POST", part="update-config", hang=True)
        began_s = time.monotonic()
        specs = [spec("eks"), spec("aks")]
        errors = await pools.act(specs, plan(eks=5, aks=5), 0.5)
        assert time.monotonic() - began_s < 1.5
        assert set(errors) == {"eks"}
        assert "no answer yet" in errors["eks"]
        assert beds["aks"].target() == 5
        # The next ticks, with another plan: the order that is out is not given a second time.
        for nodes in (5, 6, 7):
            await pools.act(specs, plan(eks=nodes, aks=5), 0.05)
        server = beds["eks"].server
        assert server is not None
        assert len([seen for seen in server.seen if "update-config" in seen.path]) == 1
        server.release()
        assert await pools.act(specs, plan(eks=5, aks=5), TICK_S) == {}
        assert (beds["eks"].target(), beds["eks"].orders()) == (5, 1)


async def test_throttled_it_is_left_alone_for_a_while_that_grows(tmp_path: Path) -> None:
    async with beds_of(tmp_path, "eks") as beds, pools_over(beds) as pools:
        bed = beds["eks"]
        await pools.act([spec("eks")], plan(eks=2), TICK_S)
        bed.fail(part="node-groups", status=429, document={"message": "Rate exceeded"}, headers={"Retry-After": "40"}, times=2)
        server = bed.server
        assert server is not None
        for pause_s in (40.0, 40.0):
            errors = await pools.act([spec("eks")], plan(eks=5), TICK_S)
            assert errors["eks"].startswith("Throttled: ")
            told = pools.told()["eks"]
            assert (told.ok, told.reason) == (False, "Throttled")
            asked = len(server.seen)
            bed.clock.advance_to(bed.clock.now_s() + pause_s - 1.0)
            await pools.act([spec("eks")], plan(eks=5), TICK_S)
            assert len(server.seen) == asked, "it was asked again before its time"
            bed.clock.advance_to(bed.clock.now_s() + 0.3 * pause_s + 1.0)
        assert await pools.act([spec("eks")], plan(eks=5), TICK_S) == {}
        assert bed.target() == 5


async def test_killed_between_two_patches_the_next_one_finishes_and_doubles_nothing(tmp_path: Path) -> None:
    """Of two pools the process had patched one; another process, which remembers nothing, goes on."""
    async with beds_of(tmp_path, "eks", "scale") as beds:
        specs = [spec("eks", max_step=3), spec("scale", max_step=3)]
        wanted = plan(eks=9, scale=9)
        async with pools_over(beds) as killed:
            beds["scale"].fail(method="PUT", hang=True)
            await killed.act(specs, wanted, 0.5)
        assert (beds["eks"].target(), beds["scale"].target()) == (5, 2)
        async with pools_over(beds) as pools:
            assert await pools.act(specs, wanted, TICK_S) == {}
            assert (beds["eks"].target(), beds["scale"].target()) == (5, 5)
            assert beds["eks"].orders() == 1
            for _ in range(3):
                await pools.act(specs, wanted, TICK_S)
            # The step that is on its way is not taken twice.
            assert (beds["eks"].target(), beds["scale"].target()) == (5, 5)


async def test_a_restart_gives_nothing_back_before_the_cool_down(tmp_path: Path) -> None:
    async with beds_of(tmp_path, "aks") as beds, pools_over(beds) as pools:
        bed = beds["aks"]
        waits = spec("aks", cool_down="10m")
        await pools.act([waits], plan(aks=0), TICK_S)
        assert bed.target() == 2
        told = pools.told()["aks"]
        assert (told.ok, told.reason) == (True, "Limited")
        assert "cool-down" in told.message
        bed.clock.advance_to(bed.clock.now_s() + 601)
        await pools.act([waits], plan(aks=0), TICK_S)
        assert bed.target() == 0


async def test_somebody_else_s_number_is_left_alone_unless_it_is_to_be_taken(tmp_path: Path) -> None:
    async with beds_of(tmp_path, "scale") as beds, pools_over(beds) as pools:
        beds["scale"].kube.patch("machinedeployments", "h100", {"metadata": {"annotations": {MAX_SIZE: "9"}}})
        errors = await pools.act([spec("scale")], plan(scale=5), TICK_S)
        assert errors["scale"].startswith("OwnedElsewhere: cluster-autoscaler")
        told = pools.told()["scale"]
        assert (told.ok, told.reason, told.asked, told.ready) == (False, "OwnedElsewhere", 2, 2)
        assert "cluster-autoscaler" in told.owner
        assert beds["scale"].target() == 2
        assert await pools.act([spec("scale", take_ownership=True)], plan(scale=5), TICK_S) == {}
        assert beds["scale"].target() == 5


async def test_who_no_longer_leads_and_who_is_paused_orders_nothing(tmp_path: Path) -> None:
    async with beds_of(tmp_path, "eks") as beds:
        async with pools_over(beds, may_write=lambda: False) as standby:
            assert await standby.act([spec("eks")], plan(eks=5), TICK_S) == {}
        async with pools_over(beds, paused=lambda: "Both") as paused:
            await paused.act([spec("eks")], plan(eks=5), TICK_S)
            assert "growing is paused" in paused.told()["eks"].message
        assert (beds["eks"].target(), beds["eks"].orders()) == (2, 0)


async def test_a_dry_run_shows_and_asks_nobody(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    pools = BackendPools(lambda _name, _settings: None, clock=ManualClock(), rng=np.random.default_rng(1))
    specs = [PoolSpec(name="h100", min_nodes=0, max_nodes=9, accelerators_per_node=8)]
    for nodes in (3, 3, 4):
        assert await pools.act(specs, plan(h100=nodes), TICK_S) == {}
    assert caplog.text.count("dry run") == 2
    told = pools.told()["h100"]
    assert (told.ok, told.reason, told.asked, told.ready) == (True, "DryRun", None, None)


async def test_a_pool_that_is_gone_is_forgotten(tmp_path: Path) -> None:
    async with beds_of(tmp_path, "eks") as beds, pools_over(beds) as pools:
        await pools.act([spec("eks")], plan(eks=2), TICK_S)
        await pools.act([], plan(), TICK_S)
        assert pools.told() == {}


async def test_a_fault_of_ours_in_one_pool_is_told_and_the_others_go_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        """A backend with a bug."""

        def __getattr__(self, name: str) -> Any:
            raise ZeroDivisionError(name)

    async with beds_of(tmp_path, "eks") as beds:
        broken: Any = Broken()

        def make(pool: PoolSpec, _settings: PoolBackend) -> Backend | None:
            made: Backend = beds[pool.name].again() if pool.name in beds else broken
            return made

        pools = BackendPools(make, clock=beds["eks"].clock, rng=np.random.default_rng(1))
        errors = await pools.act([spec("bad"), spec("eks")], plan(bad=5, eks=5), TICK_S)
        assert errors == {"bad": "a fault of ours: ZeroDivisionError"}
        assert beds["eks"].target() == 5
        assert "sizing failed" in caplog.text
        await pools.close()


async def test_nothing_told_logged_or_recorded_holds_a_credential(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A whole controller over clouds that repeat every header and body in their refusals: its log, records and statuses."""
    caplog.set_level(logging.DEBUG)
    names = ("gke", "eks", "eks-agent", "aks", "webhook")
    async with beds_of(tmp_path, *names) as beds, pools_over(beds) as pools:
        kube = beds["eks"].kube
        for name in names:
            kube.create("acceleratorpools", {"metadata": {"name": name}, "spec": {"maxNodes": 50}}, namespace="")
        reporters: list[Any] = []
        controller, cluster, _, clock = a_controller(
            [a_spec(name=name, pool=name) for name in names],
            lambda at_s, _row: 20.0 + at_s,
            node_pools=pools,
            reporters=reporters,
            interval_s=60.0,
        )
        cluster.changes = {"pools": tuple(spec(name) for name in names)}
        writer = RecordWriter(
            tmp_path / "records",
            seed=0,
            budget=controller.budget,
            shadow=False,
            wanted=lambda: controller.engine.wanted,
            state=controller.engine.save,
        )
        async with HttpKubeApi(Credentials(kube.url, monotonic_s=clock.monotonic_s)) as api:
            reporters += [DecisionLog(), PoolReporter(api, lambda: True, pools.told), writer]
            for echo in (True, False, True):
                for bed in beds.values():
                    assert bed.server is not None
                    bed.server.faults.clear()
                    if echo:
                        bed.fail(status=400, echo=True, times=999)
                clock.advance_to(clock.now_s() + 60.0)
                await controller.tick()
                assert controller.reporter_failures == 0
        await writer.close()
        texts = {
            "log": caplog.text,
            "records": "".join(file.read_text() for file in (tmp_path / "records").iterdir()),
            "statuses": json.dumps([request.body for request in kube.requests if request.path.endswith("/status")]),
            "told": repr(pools.told()),
        }
        assert all(len(text) > 200 for text in texts.values())
        for where in ("log", "statuses", "told"):
            assert "<hidden>" in texts[where], f"or nothing was repeated there: {where}"
        found = [
            (where, secret) for where, text in texts.items() for bed in beds.values() for secret in bed.secrets if secret in text
        ]
        assert not found
