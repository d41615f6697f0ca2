"""A manifest's words become the core's numbers."""

from __future__ import annotations

import math
from dataclasses import replace

import msgspec
import orjson
import pytest

from autoscaler import spec
from autoscaler.compiled import pool_spec, scaling_spec
from autoscaler.core.model import Pause, PoolSpec, PoolUse, Quota, RatePolicy, Ratio, Role, Zone
from autoscaler.manifests import load_manifests
from autoscaler.record import decode_spec

FULL = """\
apiVersion: inference-autoscaler.io/v1alpha1
kind: InferenceAutoscaler
metadata: {name: llama, namespace: models, generation: 7}
spec:
  scaleTargetRef: {kind: Deployment, name: llama-server}
  maxReplicas: 40
  mode: Active
  objective: {signal: kv_cache_utilization, target: 75%, promised: "0.99"}
  capacity: {requestsPerSecond: 1.6}
  leadTime: {replica: 1m30s, node: 500ms}
  policies:
  - {name: target, params: {signal: queue, target: 8}}
  behavior:
    scaleDown: {policies: []}
  fallback: {after: 5m, action: AtLeast, replicas: 3}
  schedules:
  - {name: a, days: [Sat, Mon], start: "08:00", end: "18:30", timezone: Europe/Berlin, minReplicas: 4}
  - {name: b, notBefore: 2026-01-31T07:00:00+01:00, maxReplicas: 5}
  pause: {direction: Down, until: 2026-01-31T06:00:00Z, reason: launch}
  role: {service: chat, name: prefill, ratios: [{to: decode, min: 0.5}, {to: encode, max: 2}]}
"""


def compiled_from(text: str) -> tuple[spec.InferenceAutoscaler, spec.AcceleratorPool | None]:
    found = load_manifests([text])
    assert isinstance(found[0], spec.InferenceAutoscaler)
    return found[0], next((other for other in found[1:] if isinstance(other, spec.AcceleratorPool)), None)


def test_all_of_it() -> None:
    manifest, _ = compiled_from(FULL)
    made = scaling_spec(manifest)
    assert (made.key, made.target, made.generation) == ("models/llama", "Deployment/llama-server", 7)
    assert (made.objective.target, made.objective.promised_ratio) == (0.75, 0.99)
    assert (made.lead_time_s, made.node_lead_time_s) == (90.0, 0.5)
    assert made.policies[0].params == {"signal": "queue", "target": 8}
    assert made.scale_down.policies == ()
    assert made.scale_up.policies[0] == RatePolicy(kind="Pods", value=4, period_s=15.0)
    assert made.fallback.after_s == 300.0
    office, later = made.schedules
    assert (office.days, office.start_minute, office.end_minute) == (frozenset({0, 5}), 480, 1110)
    assert later.days == frozenset(range(7))
    assert made.pause == Pause(direction="Down", until_s=later.from_s, reason="launch")
    assert made.role == Role(
        service="chat", name="prefill", ratios=(Ratio(to="decode", min=0.5, max=None), Ratio(to="encode", min=None, max=2.0))
    )
    assert made.sources is manifest.spec.signals


def test_several_objectives_share_the_promise() -> None:
    manifest, _ = compiled_from(
        FULL.replace(
            "  capacity: {",
            "  objectives:\n  - {signal: itl_s, target: 50ms}\n  - {signal: running, target: '24'}\n  capacity: {",
        ).replace("1.6}", "1.6, interTokenLatency: 40ms, prefill: 1s}")
    )
    made = scaling_spec(manifest)
    assert [(one.signal, one.target, one.promised_ratio) for one in made.objectives] == [
        ("itl_s", 0.05, 0.99),
        ("running", 24.0, 0.99),
    ]
    assert (made.capacity.itl_s, made.capacity.prefill_s) == (0.04, 1.0)


def test_what_is_not_known_of_a_capacity_comes_back_from_a_record() -> None:
    manifest, _ = compiled_from(FULL.replace("  capacity: {requestsPerSecond: 1.6}\n", ""))
    made = replace(scaling_spec(manifest), sources=None)
    again = decode_spec(orjson.loads(orjson.dumps(msgspec.to_builtins(made))))
    assert math.isnan(again.capacity.per_s)
    assert replace(again, capacity=made.capacity) == made


def test_defaults() -> None:
    manifest, pool = compiled_from(
        "apiVersion: inference-autoscaler.io/v1alpha1\nkind: InferenceAutoscaler\nmetadata: {name: a}\n"
        "spec: {scaleTargetRef: {kind: Deployment, name: a}, maxReplicas: 3}\n---\n"
        "apiVersion: inference-autoscaler.io/v1alpha1\nkind: AcceleratorPool\nmetadata: {name: p}\nspec: {maxNodes: 3}\n"
    )
    made = scaling_spec(manifest)
    assert math.isnan(made.capacity.per_s)
    assert not made.capacity.learnt
    assert (made.mode, made.min_replicas, made.scale_down.stabilization_s, made.pause) == ("Shadow", 1, 300.0, None)
    assert pool is not None
    assert (pool_spec(pool).name, pool_spec(pool).accelerators_per_node) == ("p", 8)


@pytest.mark.parametrize(
    ("mode", "slow", "reckoned", "usual"),
    [("Given", 0.5, 0.5, 1.6), ("Given", 2.5, 1.6, None), ("Learnt", 0.5, 1.6, None)],
)
def test_replicas_on_several_pools_are_reckoned_with_as_the_slowest_of_them(
    mode: str, slow: float, reckoned: float, usual: float | None
) -> None:
    """A load balancer gives each the same. What is learnt is of the mixture already."""
    manifest, _ = compiled_from(
        FULL.replace(
            "  capacity: {",
            f"  nodePools: [{{name: h100}}, {{name: l40s, requestsPerSecond: {slow}}}]\n  capacity: {{mode: {mode}, ",
        )
    )
    made = scaling_spec(manifest)
    assert made.capacity.per_s == reckoned
    assert made.pools == (PoolUse(name="h100", per_s=usual), PoolUse(name="l40s", per_s=slow))


def test_pools() -> None:
    manifest, pool = compiled_from(
        FULL.replace("  capacity: {", "  nodePools:\n  - {name: h100, requestsPerSecond: 4}\n  - {name: spare}\n  capacity: {")
        + """---
apiVersion: inference-autoscaler.io/v1alpha1
kind: AcceleratorPool
metadata: {name: h100}
spec:
  maxNodes: 9
  acceleratorsPerNode: 56
  costPerHour: 30
  resourceName: nvidia.com/mig-1g.10gb
  zones: [{name: west4-a}, {name: west4-b, maxNodes: 2}]
  spot: {share: 70%, onDemandNodes: 2, costPerHour: 11}
  quotas: [{namespace: models, accelerators: 64}, {namespace: batch, weight: 3}]
  minReplicasFirst: false
"""
    )
    assert scaling_spec(manifest).pools == (PoolUse(name="h100", per_s=4.0), PoolUse(name="spare"))
    assert pool is not None
    made = pool_spec(pool)
    assert replace(made, backend=None) == PoolSpec(
        name="h100",
        min_nodes=0,
        max_nodes=9,
        accelerators_per_node=56,
        cost_per_hour=30.0,
        resource="nvidia.com/mig-1g.10gb",
        zones=(Zone(name="west4-a"), Zone(name="west4-b", max_nodes=2)),
        spot_ratio=0.7,
        on_demand_nodes=2,
        spot_cost_per_hour=11.0,
        quotas=(Quota(namespace="models", accelerators=64), Quota(namespace="batch", weight=3)),
        min_replicas_first=False,
    )
    assert (made.most_nodes, replace(made, zones=made.zones[1:]).most_nodes) == (9, 2)


@pytest.mark.parametrize(
    ("capacity", "given_per_s", "bounds"),
    [
        ("{mode: Learnt, requestsPerSecond: 2}", 2.0, (0.5, 8.0)),
        ("{mode: Learnt, requestsPerSecond: 2, bounds: {max: 3}}", 2.0, (0.5, 3.0)),
        ("{mode: Learnt, bounds: {min: 0.1}}", None, (0.1, None)),
        ("{mode: Learnt}", None, (None, None)),
    ],
)
def test_a_learnt_capacity_has_bounds(
    capacity: str, given_per_s: float | None, bounds: tuple[float | None, float | None]
) -> None:
    manifest, _ = compiled_from(FULL.replace("{requestsPerSecond: 1.6}", capacity))
    made = scaling_spec(manifest).capacity
    assert made.learnt
    assert (made.min_per_s, made.max_per_s) == bounds
    assert math.isnan(made.per_s) if given_per_s is None else made.per_s == given_per_s


def test_what_is_no_number_is_named() -> None:
    manifest, _ = compiled_from(FULL)
    manifest.spec.lead_time.replica = "soon"
    with pytest.raises(ValueError, match=r"spec\.leadTime\.replica: 'soon' is not a duration"):
        scaling_spec(manifest)
    manifest.spec.lead_time.replica = "1s"
    manifest.spec.policies[0].params["target"] = [8]
    with pytest.raises(ValueError, match=r"spec\.policies\[0\]\.params\.target"):
        scaling_spec(manifest)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("1h30m", 5400), ("0.5d", 43200), ("250ms", 0.25), ("1m1m", 120)])
def test_durations(text: str, seconds: float) -> None:
    assert spec.duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "5 s", "s", "-5s", "5s\n", "1y", "٣s"])
def test_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        spec.duration_s(text)


@pytest.mark.parametrize(("text", "ratio"), [("99.5%", 0.995), ("100%", 1), ("0%", 0), ("0.995", 0.995), ("1", 1), ("1.0", 1)])
def test_shares(text: str, ratio: float) -> None:
    assert spec.share_ratio(text) == pytest.approx(ratio)


@pytest.mark.parametrize("text", ["", "101%", "100.5%", "1.5", "-1%", "5", "%", "99.5 %"])
def test_no_shares(text: str) -> None:
    with pytest.raises(ValueError, match="not a share"):
        spec.share_ratio(text)


@pytest.mark.parametrize("text", ["2026-02-30T00:00:00Z", "2026-01-01", "2026-01-01T00:00:00", "now", ""])
def test_no_moments(text: str) -> None:
    with pytest.raises(ValueError, match="RFC 3339"):
        spec.moment_s(text)
