"""Own metrics: valid text, per-object series, nothing for what is unknown."""

from __future__ import annotations

import math
from dataclasses import replace

from prometheus_client.parser import text_string_to_metric_families

from autoscaler.adapters.telemetry.families import Family, Labels
from autoscaler.adapters.telemetry.metrics import Metrics
from autoscaler.core.model import PoolSpec, Role
from autoscaler.core.node_facts import PoolFacts, StageTime, StuckReplicas
from autoscaler.core.short import Bound, Bounds, Short
from tests.ticks import a_controller, a_spec


async def test_per_object_series_parse_and_carry_the_columns() -> None:
    controller, _, _, _ = a_controller([a_spec("a"), a_spec("b")], lambda _at_s, row: 50.0 if row == 0 else math.nan)
    requests: dict[Labels, float] = {(("verb", "get"), ("code", "200")): 7.0}
    metrics = Metrics(lambda: [Family(name="kubernetes_requests_total", help="Requests.", kind="counter", samples=requests)])
    tick = await controller.tick()
    await metrics.report(tick)
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
    }
    a = (("name", "a"), ("namespace", "team"))
    b = (("name", "b"), ("namespace", "team"))
    assert samples["inference_autoscaler_desired_replicas", a] == tick.decisions.desired[0] == 5
    assert samples["inference_autoscaler_blind", b] == 1
    assert ("inference_autoscaler_recommended_replicas", b) not in samples
    assert samples["inference_autoscaler_signal", tuple(sorted((*a, ("signal", "concurrency"))))] == 50.0
    assert ("inference_autoscaler_signal", tuple(sorted((*b, ("signal", "concurrency"))))) not in samples
    assert samples["inference_autoscaler_ticks_total", ()] == 1
    assert samples["inference_autoscaler_kubernetes_requests_total", (("code", "200"), ("verb", "get"))] == 7


async def test_what_replicas_are_taken_to_do() -> None:
    learnt = replace(a_spec().capacity, learnt=True)
    unknown = replace(a_spec().capacity, per_s=math.nan)
    specs = [a_spec("a", capacity=learnt), a_spec("b"), a_spec("c", capacity=unknown)]
    controller, _, _, _ = a_controller(specs, lambda _at_s, _row: 50.0)
    metrics = Metrics()
    await metrics.report(await controller.tick())
    lines = [line for line in metrics.render().decode().splitlines() if line.startswith("inference_autoscaler_capacity_")]
    assert lines == [
        'inference_autoscaler_capacity_requests_per_second{namespace="team",name="a"} 1.6',
        'inference_autoscaler_capacity_requests_per_second{namespace="team",name="b"} 1.6',
        'inference_autoscaler_capacity_confidence_ratio{namespace="team",name="a"} 0.0',
    ]


async def test_who_is_the_bottleneck() -> None:
    specs = [
        a_spec("a", role=Role(service="chat", name="prefill")),
        a_spec("b", role=Role(service="chat", name="decode")),
        a_spec("c"),
    ]
    controller, _, _, _ = a_controller(specs, lambda _at_s, row: 20.0 + 50.0 * row)
    metrics = Metrics()
    await metrics.report(await controller.tick())
    assert [line for line in metrics.render().decode().splitlines() if line.startswith("inference_autoscaler_bottleneck")] == [
        'inference_autoscaler_bottleneck{namespace="team",name="a"} 0.0',
        'inference_autoscaler_bottleneck{namespace="team",name="b"} 1.0',
    ]


async def test_what_is_seen_of_pools() -> None:
    controller, _, _, _ = a_controller([a_spec("a", pool="h100")], lambda _at_s, _row: 50.0)
    tick = await controller.tick()
    metrics = Metrics()
    await metrics.report(tick)
    assert "inference_autoscaler_pool" not in metrics.render().decode()
    ready = StageTime(name="ready", samples=4, p50_s=150.0, p90_s=180.0, p99_s=200.0)
    facts = PoolFacts(
        nodes=3,
        ready=2,
        advertised=1,
        lead_s=180.0,
        stages=(ready,),
        noticed=1,
        losses=1.5,
        node_hours=30.0,
        loss_per_node_hour=0.0033,
    )
    stuck = StuckReplicas(replicas=2, since_s=0.0, limit_s=260.0, resource="nvidia.com/gpu", said="")
    pools = (PoolSpec(name="h100", min_nodes=0, max_nodes=9, accelerators_per_node=8),)
    short = Short(since_s=0.0, until_s=300.0, pause_s=300.0, there=3, trying=0, resource="nvidia.com/gpu", said="")
    bounds = Bounds(pools={"h100": Bound(most=3, trying=0, words="", state=short)})
    seen = replace(tick.fleet, pools=pools, pool_facts={"h100": facts}, stuck={0: stuck})
    await metrics.report(replace(tick, fleet=seen, plan=replace(tick.plan, bounds=bounds)))
    page = metrics.render().decode()
    assert list(text_string_to_metric_families(page))
    lines = [line.removeprefix("inference_autoscaler_") for line in page.splitlines() if "pool_" in line or "stuck" in line]
    assert [line for line in lines if not line.startswith("#")] == [
        'pool_nodes{pool="h100",state="there"} 3',
        'pool_nodes{pool="h100",state="ready"} 2',
        'pool_nodes{pool="h100",state="advertised"} 1',
        'pool_silent_nodes{pool="h100"} 0',
        'pool_short{pool="h100"} 1',
        'pool_noticed_nodes{pool="h100"} 1',
        'pool_lost_nodes{pool="h100"} 1.5',
        'pool_losses_per_node_hour{pool="h100"} 0.0033',
        'pool_lead_time_seconds{pool="h100",stage="ready",quantile="0.5"} 150.0',
        'pool_lead_time_seconds{pool="h100",stage="ready",quantile="0.9"} 180.0',
        'pool_lead_time_seconds{pool="h100",stage="ready",quantile="0.99"} 200.0',
        'stuck_replicas{namespace="team",name="a",resource="nvidia.com/gpu"} 2',
    ]
