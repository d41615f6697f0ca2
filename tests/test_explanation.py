"""Why this many replicas: the same words from a tick and from its record."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import orjson
import pytest

from autoscaler.core.allocation import ChangeBudget
from autoscaler.core.model import Fleet, PoolSpec, PoolUse, Quota, ScalingSpec, Zone
from autoscaler.core.node_facts import PoolFacts, SilentNodes, StageTime, StuckReplicas
from autoscaler.explanation import explain_record, explain_tick
from autoscaler.ports import Tick
from autoscaler.record import decode_draining_lost, decode_placed, decode_pool, decode_spec, encode, fleet_record, tick_record
from tests.dashboard.watching import Kept
from tests.ticks import a_controller, a_spec


async def explained(spec: ScalingSpec, *loads: float, **changes: Any) -> tuple[Tick, dict[str, Any]]:
    """The last tick and its explanation, after one tick for each load."""
    kept = Kept()
    values = iter(loads)
    now = [0.0]
    controller, cluster, _, clock = a_controller([spec], lambda _at_s, _row: now[0], reporters=[kept], **changes)
    for number, now[0] in enumerate(values):
        clock.advance_to(15.0 * number)
        await controller.tick()
    del cluster
    assert kept.tick is not None
    assert kept.documents is not None
    return kept.tick, kept.documents[0]


async def test_the_steps_read_like_a_sum() -> None:
    _, document = await explained(a_spec(max_replicas=8), 95.0)
    assert [(step["step"], step["name"], step["before"], step["after"]) for step in document["steps"]] == [
        ("policy", "per-replica", None, 10),
        ("limit", "Bounds", 10, 8),
        ("write", "Write", 5, 8),
    ]
    assert document["planned"] == document["desired"] == 8
    assert document["written"] == "done"
    assert document["sentence"].startswith("8 replicas. per-replica: 95 in flight ÷ 10.")
    assert "maxReplicas is 8" in document["sentence"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"mode": "Shadow"}, "only noted"), ({"mode": "Recommend"}, "published")],
)
async def test_what_is_not_written_says_why(changes: dict[str, Any], words: str) -> None:
    _, document = await explained(replace(a_spec(), **changes), 95.0)
    assert words in document["steps"][-1]["words"]
    assert document["written"] == "nothing"


async def test_a_standby_says_that_it_is_one() -> None:
    _, document = await explained(a_spec(), 95.0, may_act=lambda: False)
    assert "standby" in document["steps"][-1]["words"]


async def test_unknown_is_neither_zero_nor_a_number() -> None:
    _, document = await explained(a_spec(), 50.0, float("nan"))
    (signal,) = [signal for signal in document["signals"] if signal["name"] == "concurrency"]
    assert (signal["state"], signal["value"], signal["age_s"]) == ("unknown", None, None)
    assert document["recommended"] is None
    assert document["steps"][0]["after"] is None
    assert "unknown" in document["reason"]


async def test_a_record_explains_as_its_tick_did() -> None:
    tick, document = await explained(a_spec(max_replicas=8), 95.0, 20.0)
    fleet = fleet_record(
        tick.fleet, at_s=0.0, interval_s=15.0, seed=0, wanted={}, budget=ChangeBudget(), shadow=False, start="cold"
    )
    from_record = explain_record(orjson.loads(encode(fleet)), orjson.loads(encode(tick_record(tick))), 0)
    assert from_record == orjson.loads(orjson.dumps(document))


async def test_a_learnt_capacity_is_told_and_a_given_one_only_noted() -> None:
    _, given = await explained(a_spec(), 95.0)
    assert given["capacity"]["mode"] == "given"
    assert given["capacity"]["words"] == "a replica does 1.6 requests/s (given)"
    assert "requests/s" not in given["sentence"]
    spec = a_spec(capacity=replace(a_spec().capacity, learnt=True))
    tick, document = await explained(spec, 95.0, 20.0)
    assert document["capacity"] == {
        "mode": "learnt",
        "per_s": 1.6,
        "given_per_s": 1.6,
        "confidence": 0.0,
        "words": "a replica does 1.6 requests/s (learnt, confidence 0.00, 1.6 given)",
    }
    assert document["capacity"]["words"] in document["sentence"]
    fleet = fleet_record(
        tick.fleet, at_s=0.0, interval_s=15.0, seed=0, wanted={}, budget=ChangeBudget(), shadow=False, start="cold"
    )
    from_record = explain_record(orjson.loads(encode(fleet)), orjson.loads(encode(tick_record(tick))), 0)
    assert from_record == orjson.loads(orjson.dumps(document))


async def test_a_capacity_that_nobody_knows_is_none_in_records_too() -> None:
    spec = a_spec(capacity=replace(a_spec().capacity, per_s=float("nan")))
    tick, document = await explained(spec, 95.0)
    assert document["capacity"]["words"] == "what a replica can do is not known"
    fleet = fleet_record(
        tick.fleet, at_s=0.0, interval_s=15.0, seed=0, wanted={}, budget=ChangeBudget(), shadow=False, start="cold"
    )
    decoded = orjson.loads(encode(fleet))
    assert explain_record(decoded, orjson.loads(encode(tick_record(tick))), 0) == orjson.loads(orjson.dumps(document))
    assert math.isnan(decode_spec(decoded["services"][0]).capacity.per_s)


def recorded(fleet: Fleet) -> dict[str, Any]:
    record = fleet_record(fleet, at_s=0.0, interval_s=15.0, seed=0, wanted={}, budget=ChangeBudget(), shadow=False, start="cold")
    decoded: dict[str, Any] = orjson.loads(encode(record))
    return decoded


async def on_pools(spec: ScalingSpec, *pools: PoolSpec, **changes: Any) -> Tick:
    kept = Kept()
    controller, cluster, _, _ = a_controller([spec], lambda _at_s, _row: 195.0, reporters=[kept])
    cluster.changes = {"pools": pools, **changes}
    await controller.tick()
    assert kept.tick is not None
    return kept.tick


async def test_a_full_pool_says_why_as_many_nodes_and_why_no_more_replicas() -> None:
    pools = (
        PoolSpec(name="h100", min_nodes=0, max_nodes=2, accelerators_per_node=8, zones=(Zone(name="a"),)),
        PoolSpec(name="other", min_nodes=1, max_nodes=2, accelerators_per_node=8),
    )
    tick = await on_pools(a_spec(pool="h100"), *pools)
    document = explain_tick(tick, 0)
    assert [(step["name"], step["before"], step["after"]) for step in document["steps"]] == [
        ("per-replica", None, 20),
        ("NodePoolFull", 20, 16),
        ("Write", 5, 16),
    ]
    assert document["node_words"] == {
        "h100": "2 nodes of 8: 16 nvidia.com/gpu for replicas of 1 service; 4 more are wished and have no place"
    }
    told = orjson.loads(encode(tick_record(tick)))
    assert told["zone_nodes"] == {"h100": {"a": 2}}
    assert "spot_nodes" not in told
    assert explain_record(recorded(tick.fleet), told, 0) == orjson.loads(orjson.dumps(document))


async def test_records_of_pools_come_back_and_hold_no_more_than_was_said() -> None:
    plain = PoolSpec(name="plain", min_nodes=1, max_nodes=2, accelerators_per_node=8)
    rich = replace(plain, name="rich", quotas=(Quota(namespace="team", accelerators=3),), zones=(Zone(name="a"),), spot_ratio=0.5)
    several = a_spec(pools=(PoolUse(name="plain"), PoolUse(name="rich", per_s=2.0)))
    tick = await on_pools(
        several,
        plain,
        rich,
        pool_nodes={"plain": 1},
        placed={0: {"rich": 2}},
        draining_on={0: {"plain": 1}},
        draining_lost={0: 3},
        staying_lost={0: {"rich": 1}},
    )
    fleet, told = recorded(tick.fleet), orjson.loads(encode(tick_record(tick)))
    assert [decode_pool(pool) for pool in fleet["pools"]] == [plain, rich]
    assert fleet["pools"][0].keys() == {"name", "min_nodes", "max_nodes", "accelerators_per_node", "cost_per_hour"}
    assert decode_spec(fleet["services"][0]).pools == several.pools
    assert "pools" not in recorded((await on_pools(a_spec(pool="plain"), plain)).fleet)["services"][0]
    assert (told["pool_nodes"], decode_placed(told)) == ({"plain": 1}, {0: {"rich": 2}})
    assert decode_placed(told, "draining_on") == {0: {"plain": 1}}
    assert (decode_draining_lost(told), decode_placed(told, "staying_lost")) == ({0: 3}, {0: {"rich": 1}})


async def test_what_nodes_take_and_what_does_not_come_is_told() -> None:
    """From a tick and from its record; the stages of replicas are only the running controller's to tell."""
    whole = StageTime(name="whole", samples=4, p50_s=150.0, p90_s=180.0, p99_s=200.0)
    silent = SilentNodes(nodes=1, names=("gpu-7",), since_s=0.0, limit_s=60.0)
    facts = PoolFacts(nodes=3, ready=2, advertised=1, lead_s=180.0, stages=(whole,), silent=silent)
    stuck = StuckReplicas(replicas=2, since_s=0.0, limit_s=260.0, resource="nvidia.com/gpu", said="0/3 nodes are available")
    tick, plain = await explained(a_spec(pool="h100"), 95.0)
    assert [words.partition(" ")[0] for words in plain["lead_times"]["words"]] == ["a", "a"], "nothing is known of nodes"

    model = replace(whole, name="model")
    fleet = replace(tick.fleet, pool_facts={"h100": facts}, stuck={0: stuck}, lead_stages=lambda _row: (model,))
    seen = replace(tick, fleet=fleet)
    told = explain_tick(seen, 0)["lead_times"]
    assert told["words"] == [
        "a replica is ready 120 s after its creation: model 150 s (p90 180, p99 200, 4 seen)",
        "a new node adds 180 s: whole 150 s (p90 180, p99 200, 4 seen)",
        "of its pool 3 nodes are there, 2 Ready, 1 with accelerators",
        silent.words,
        stuck.words,
    ]
    record = fleet_record(fleet, at_s=0.0, interval_s=15.0, seed=0, wanted={}, budget=ChangeBudget(), shadow=False, start="cold")
    from_record = explain_record(orjson.loads(encode(record)), orjson.loads(encode(tick_record(seen))), 0)["lead_times"]
    assert from_record["words"][0] == "a replica is ready 120 s after its creation"
    assert from_record["words"][1:] == told["words"][1:]
    assert from_record["node_stages"] == told["node_stages"]
