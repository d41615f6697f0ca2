"""Story c: Prometheus stopped, slow, lying, forgetful: no scale-down while blind, hold, then the stated fallback, recovery by itself."""

from __future__ import annotations

from typing import Any

from tests.e2e.world import World, autoscaler, deployment
from tests.realparts.api import Object

FALLBACK = {"after": "6s", "action": "AtLeast", "replicas": 9}


def busy(_at_s: float) -> float:
    return 6.4


async def test_c_stopped_prometheus_holds_then_falls_back_then_recovers(world: World) -> None:
    await world.apply(deployment("llama", 4), autoscaler("llama", fallback=FALLBACK))
    await world.until_ready("llama", 4)
    async with world.controller("story-c-stopped"), world.traffic("llama", busy) as traffic:
        await world.until_condition("llama", "ScalingActive", "True")
        settled = await world.until_status(
            "llama", lambda item: item["status"]["desiredReplicas"] == item["status"]["currentReplicas"]
        )
        await world.prometheus.stop()
        blind = await world.until_condition("llama", "ScalingActive", "False", "SignalsUnknown")
        assert blind["status"]["currentReplicas"] >= settled["status"]["currentReplicas"]
        raised = await world.until_status("llama", lambda item: item["status"]["currentReplicas"] >= 9)
        assert raised["status"]["desiredReplicas"] >= 9
        traffic.demand = lambda _at_s: 1.0
        await world.prometheus.start()
        await world.until_condition("llama", "ScalingActive", "True", "SignalsKnown")
        await world.until_replicas("llama", lambda count: count <= 3, timeout_s=90)


async def test_c_slow_prometheus_is_blindness_within_a_tick(world: World) -> None:
    await world.apply(deployment("llama", 4), autoscaler("llama"))
    await world.until_ready("llama", 4)
    async with world.controller("story-c-slow") as controller, world.traffic("llama", busy):
        await world.until_condition("llama", "ScalingActive", "True")
        world.prometheus.freeze()
        try:
            blind = await world.until_condition("llama", "ScalingActive", "False", "SignalsUnknown")
            held = blind["status"]["currentReplicas"]
            before = await controller.get("/api/services")
            await world.until_status("llama", lambda item: item["status"]["currentReplicas"] >= held)
            assert before, "the page answers while Prometheus hangs"
        finally:
            world.prometheus.thaw()
        await world.until_condition("llama", "ScalingActive", "True")


async def test_c_nan_is_unknown(world: World) -> None:
    await world.apply(deployment("llama", 4), autoscaler("llama"))
    await world.until_ready("llama", 4)
    async with world.controller("story-c-nan"), world.traffic("llama", busy) as traffic:
        await world.until_condition("llama", "ScalingActive", "True")
        before = await world.replicas("llama")

        def nan(series: list[Any]) -> list[Any]:
            return [(labels, [(at_s, float("nan")) for at_s, _ in samples]) for labels, samples in series]

        traffic.fault = nan
        blind = await world.until_condition("llama", "ScalingActive", "False", "SignalsUnknown")
        assert await world.replicas("llama") >= before
        unknown = [signal for signal in blind["status"]["signals"] if signal["state"] == "Unknown"]
        assert unknown
        assert all(signal.get("why") for signal in unknown), "each unknown signal says why"
        traffic.fault = lambda series: series
        await world.until_condition("llama", "ScalingActive", "True")


async def test_c_one_of_two_metrics_lost_grows_and_never_shrinks(world: World) -> None:
    policies = [
        {"name": "target", "params": {"signal": "running", "target": 6}},
        {"name": "target", "params": {"signal": "kv_cache_utilization", "target": 0.95}},
    ]
    await world.apply(deployment("llama", 4), autoscaler("llama", policies=policies))
    await world.until_ready("llama", 4)
    async with world.controller("story-c-partial"), world.traffic("llama", busy) as traffic:
        await world.until_condition("llama", "ScalingActive", "True", "SignalsKnown")

        def without_kv_cache(series: list[Any]) -> list[Any]:
            return [item for item in series if item[0]["__name__"] != "vllm:kv_cache_usage_perc"]

        traffic.fault = without_kv_cache
        await world.until_status("llama", lambda item: "SignalsPartial" in {c["reason"] for c in item["status"]["conditions"]})
        before = await world.replicas("llama")
        traffic.demand = lambda _at_s: 12.8
        grown = await world.until_replicas("llama", lambda count: count > before)
        traffic.demand = lambda _at_s: 1.0

        def held(item: Object) -> bool:
            limits = item["status"].get("limits", [])
            return any(limit["name"] == "PartialData" and limit["before"] < before for limit in limits)

        await world.until_status("llama", held)
        assert await world.replicas("llama") >= grown


async def test_c_a_renamed_metric_is_found_under_its_other_name(world: World) -> None:
    await world.apply(
        deployment("llama", 4),
        autoscaler("llama", policies=[{"name": "target", "params": {"signal": "kv_cache_utilization", "target": 0.5}}]),
    )
    await world.until_ready("llama", 4)
    async with world.controller("story-c-renamed"), world.traffic("llama", busy) as traffic:
        await world.until_condition("llama", "ScalingActive", "True", "SignalsKnown")

        def older(series: list[Any]) -> list[Any]:
            renamed = {"vllm:kv_cache_usage_perc": "vllm:gpu_cache_usage_perc"}
            return [
                ({**labels, "__name__": renamed.get(labels["__name__"], labels["__name__"])}, samples)
                for labels, samples in series
            ]

        traffic.fault = older
        # From here on only the old name has samples: following the demand up and down proves that it is what is read.
        traffic.demand = lambda _at_s: 9.6
        grown = await world.until_replicas("llama", lambda count: count >= 12)
        traffic.demand = lambda _at_s: 1.0
        await world.until_replicas("llama", lambda count: count < grown)
        item = await world.until_condition("llama", "ScalingActive", "True", "SignalsKnown")
        (signal,) = [signal for signal in item["status"]["signals"] if signal["name"] == "kv_cache_utilization"]
        assert signal["state"] == "Known"
