"""Story f: the API server restarts, answers 409, 410, 429, 500, hangs: nothing is lost, no storm."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from aiohttp import web

from tests.e2e.world import API_SERVER_STARTS, SYSTEM, World, autoscaler, deployment
from tests.realparts.fault_proxy import FaultProxy, Hang, Rule, kubernetes_error


async def test_f_the_api_server_crashes_and_comes_back(world: World) -> None:
    await world.apply(deployment("llama", 2), autoscaler("llama"))
    await world.until_ready("llama", 2)
    demand = 1.6
    async with world.controller("story-f-restart"), world.traffic("llama", lambda _at_s: demand):
        await world.until_condition("llama", "ScalingActive", "True")
        began_s = time.time()
        await world.control_plane.restart_apiserver(crash=True)
        API_SERVER_STARTS.append((began_s, time.time() + 1))
        demand = 9.0
        await world.until_replicas("llama", lambda count: count >= 5, timeout_s=60)


def scale_write(request: web.Request) -> bool:
    return request.method in ("PUT", "PATCH") and request.path.endswith("/scale")


def watch(request: web.Request) -> bool:
    return request.query.get("watch") in ("true", "1", "True")


FAULTS: dict[str, Rule] = {
    "409 to writes": lambda request: kubernetes_error(409, "Conflict") if scale_write(request) else None,
    "410 to watches": lambda request: kubernetes_error(410, "Expired") if watch(request) else None,
    "429 to all": lambda request: kubernetes_error(429, "TooManyRequests", retry_after_s=1),
    "500 to all": lambda request: kubernetes_error(500, "InternalError"),
    "silence": lambda request: Hang(),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_f_made_up_faults_lose_nothing_and_make_no_storm(world: World, fault: str) -> None:
    await world.apply(deployment("llama", 2), autoscaler("llama"))
    await world.until_ready("llama", 2)
    demand = 1.6
    async with world.control_plane.fault_proxy() as proxy:
        kubeconfig = await world.control_plane.service_account_kubeconfig(SYSTEM, SYSTEM, server=proxy.url)
        behind = World(world.control_plane, world.prometheus, world.namespace, Path(kubeconfig))
        name = f"story-f-{fault.split()[0]}"
        async with behind.controller(name), world.traffic("llama", lambda _at_s: demand):
            await world.until_condition("llama", "ScalingActive", "True")
            calm = requests_per_s(proxy, 3.0)
            proxy.rule = FAULTS[fault]
            proxy.cut_streams()
            demand = 9.0
            began = time.monotonic()
            await fault_lasts(proxy, began, 8.0)
            during = len([seen for seen in proxy.requests if seen.at_s > began]) / 8.0
            proxy.rule = lambda _request: None
            await world.until_replicas("llama", lambda count: count >= 5, timeout_s=60)
            assert during < max(10 * calm, 30.0), f"{during:.1f} requests/s while '{fault}', {calm:.1f} before: a storm"


def requests_per_s(proxy: FaultProxy, last_s: float) -> float:
    now = time.monotonic()
    return len([seen for seen in proxy.requests if seen.at_s > now - last_s]) / last_s


async def fault_lasts(proxy: FaultProxy, began: float, seconds: float) -> None:
    """Until the fault has lasted so long by the proxy's own requests or the clock."""
    await asyncio.sleep(max(0.0, began + seconds - time.monotonic()))  # the fault's length is what is tested, no event ends it
