"""Objects that read the very same work: told where their owner hasn't said which part is theirs, and never of what each reads for itself."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from autoscaler.adapters.prometheus.gateways import GATEWAYS
from autoscaler.adapters.prometheus.presets import PRESETS
from autoscaler.shared_demand import GATEWAYS_TELL, WITHOUT_WORK, WORK, shared_demand
from autoscaler.spec import InferenceAutoscaler

ARRIVALS = [{"signal": "demand", "query": 'sum(rate(gateway_requests_total{service="chat"}[1m]))'}]


def an_object(name: str, namespace: str = "team", mode: str = "Active", target: str = "", **signals: Any) -> InferenceAutoscaler:
    return msgspec.convert(
        {
            "kind": "InferenceAutoscaler",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "scaleTargetRef": {"kind": "Deployment", "name": target or name},
                "maxReplicas": 9,
                "mode": mode,
                "signals": signals,
            },
        },
        InferenceAutoscaler,
    )


def test_presets_and_gateways_are_known_here_as_the_adapter_knows_them() -> None:
    assert {name for name, preset in PRESETS.items() if not set(preset.signals) & set(WORK)} == WITHOUT_WORK
    assert {name: tuple(preset.signals) for name, preset in GATEWAYS.items()} == dict(GATEWAYS_TELL)


def test_the_same_query_is_told_to_each_with_the_names_of_the_others() -> None:
    told = shared_demand([an_object("chat", queries=ARRIVALS), an_object("chat-canary", queries=ARRIVALS), an_object("other")])
    assert set(told) == {0, 1}
    assert told[0].startswith("demand (own PromQL) is the very same that team/chat-canary reads, and each is sized for all of it")
    assert "team/chat reads" in told[1]
    assert "signals.share: 100%" in told[1]
    many = shared_demand([an_object(f"v{number}", queries=ARRIVALS) for number in range(6)])
    assert "team/v1, team/v2, team/v3 and 2 more" in many[0]


def test_the_same_gateway_is_told_where_only_it_tells_of_work() -> None:
    gateway = {"preset": "envoy", "name": "chat"}
    objects = [an_object("chat", presets=["dcgm"], gateway=gateway), an_object("canary", presets=["dcgm"], gateway=gateway)]
    assert "demand (gateway envoy)" in shared_demand(objects)[0]
    assert not shared_demand([an_object("chat", gateway=gateway), an_object("canary", gateway=gateway)]), (
        "each reads its own pods"
    )
    assert not shared_demand([objects[0], an_object("canary", presets=["dcgm"], gateway={"preset": "envoy"})]), "another route"


@pytest.mark.parametrize(
    "other",
    [
        {"mode": "Shadow"},
        {"namespace": "another"},
        {"target": "chat"},
        {"queries": [{"signal": "demand", "query": 'sum(rate(gateway_requests_total{service="chat",version="v2"}[1m]))'}]},
        {"queries": [{"signal": "kv_cache_utilization", "query": ARRIVALS[0]["query"]}]},
        {"prometheus": {"name": "eu"}},
    ],
)
def test_what_is_not_the_same_or_adds_no_replicas_is_fine(other: dict[str, Any]) -> None:
    assert not shared_demand([an_object("chat", queries=ARRIVALS), an_object("canary", **{"queries": ARRIVALS, **other})])


def test_who_says_its_share_is_believed() -> None:
    stable, canary = an_object("chat", queries=ARRIVALS, share="90%"), an_object("canary", queries=ARRIVALS, share="10%")
    assert not shared_demand([stable, canary])
    assert set(shared_demand([an_object("chat", queries=ARRIVALS), canary])) == {0}
    assert not shared_demand(
        [an_object("filter", queries=ARRIVALS, share="100%"), an_object("chat", queries=ARRIVALS, share="100%")]
    )
