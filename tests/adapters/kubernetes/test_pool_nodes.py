"""The stages of a node's way, and nodes that never come up."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from autoscaler.adapters.kubernetes.lead_times import LeadTimes
from autoscaler.adapters.kubernetes.nodes import Node
from autoscaler.adapters.kubernetes.pool_nodes import Pool, PoolNodes
from autoscaler.core.model import PoolSpec
from autoscaler.core.node_facts import NODE_STAGES
from autoscaler.core.node_losses import NodeLosses
from autoscaler.spec import AcceleratorPoolStatus, LeadTimeStatus, LossesStatus

SPEC = PoolSpec(name="h100", min_nodes=0, max_nodes=9, accelerators_per_node=8)


def a_pool(lead: LeadTimes | None = None) -> PoolNodes:
    pool = Pool(spec=SPEC, generation=1, status=AcceleratorPoolStatus())
    return PoolNodes(pool, lead or LeadTimes())


def a_node(**changes: Any) -> Node:
    """A node of 1000 s, on its way."""
    made = Node(
        labels={},
        pools=("h100",),
        created_at_s=1000.0,
        ready_at_s=None,
        accelerators=0,
        starting=False,
        cordoned=False,
        leaving=False,
    )
    return msgspec.structs.replace(made, **changes)


def nobody_serves() -> bool:
    return False


def stages(pool: PoolNodes) -> dict[str, float]:
    return {stage.name: stage.p50_s for stage in pool.lead.told(NODE_STAGES)}


def come_up(pool: PoolNodes, name: str = "a", **changes: Any) -> None:
    """Seen at its creation, Ready after 60 s, its GPUs 30 s later."""
    pool.node_changed(name, a_node(**changes), 1000.5)
    pool.node_changed(name, a_node(ready_at_s=1060.0, **changes), 1060.5)
    pool.node_changed(name, a_node(ready_at_s=1060.0, accelerators=8, **changes), 1090.0)


def test_the_stages_add_up_to_the_whole() -> None:
    pool = a_pool()
    pool.orders.aim(0, 0.0)
    pool.orders.aim(1, 960.0)
    come_up(pool)
    assert stages(pool) == {"whole": 130.0, "provisioned": 40.0, "ready": 60.0, "advertised": 30.0}
    facts = pool.facts(1100.0, nobody_serves)
    assert (facts.nodes, facts.ready, facts.advertised, facts.lead_s) == (1, 1, 1, None), "one sample says nothing yet"


def test_gpus_that_are_there_from_the_start_come_with_ready() -> None:
    """What is told late, after a watch that broke, doesn't make it later."""
    pool = a_pool()
    pool.orders.aim(0, 0.0)
    pool.orders.aim(1, 990.0)
    pool.node_changed("a", a_node(accelerators=8), 1000.5)
    pool.node_changed("a", a_node(accelerators=8, ready_at_s=1060.0), 1300.0)
    assert stages(pool) == {"whole": 70.0, "provisioned": 10.0, "ready": 60.0, "advertised": 0.0}


def test_a_taint_of_the_start_is_waited_for() -> None:
    pool = a_pool()
    pool.node_changed("a", a_node(), 1000.5)
    pool.node_changed("a", a_node(ready_at_s=1060.0, accelerators=8, starting=True), 1060.5)
    assert "advertised" not in stages(pool)
    pool.node_changed("a", a_node(ready_at_s=1060.0, accelerators=8), 1075.0)
    assert stages(pool)["advertised"] == 15.0


def test_a_request_that_needed_no_node_is_not_answered_hours_later() -> None:
    """A backend that asks for room: there was some on a node that is there."""
    pool = a_pool()
    pool.node_changed("old", a_node(created_at_s=0.0, ready_at_s=60.0, accelerators=8), 500.0)
    pool.aim(0, 500.0)
    pool.aim(1, 510.0)
    come_up(pool)
    assert stages(pool) == {"ready": 60.0, "advertised": 30.0}
    pool.aim(3, 1100.0)
    assert len(pool.orders) == 1, "two are there"


@pytest.mark.parametrize("pod_first", [True, False])
def test_where_nobody_asked_it_is_the_first_pod_that_waited(pod_first: bool) -> None:
    """Whether the pods' watch or the nodes' tells first."""
    pool = a_pool()
    pool.node_changed("a", a_node(), 1000.5)
    pool.node_changed("a", a_node(ready_at_s=1060.0), 1060.5)
    if pod_first:
        pool.pod_came("a", 970.0)
    pool.node_changed("a", a_node(ready_at_s=1060.0, accelerators=8), 1090.0)
    if not pod_first:
        pool.pod_came("a", 970.0)
    pool.pod_came("a", 900.0)  # the second one
    pool.pod_came("elsewhere", 900.0)
    assert stages(pool) == {"whole": 120.0, "provisioned": 30.0, "ready": 60.0, "advertised": 30.0}


def test_a_pod_that_began_to_wait_after_the_node_was_made_did_not_ask_for_it() -> None:
    pool = a_pool()
    come_up(pool)
    pool.pod_came("a", 1010.0)
    assert stages(pool) == {"ready": 60.0, "advertised": 30.0}


def test_nodes_that_were_up_when_we_came_tell_nothing() -> None:
    pool = a_pool()
    pool.node_changed("a", a_node(ready_at_s=1060.0, accelerators=8), 9000.0)
    pool.pod_came("a", 900.0)
    # A flapping kubelet, a device plugin that restarts: no first time.
    pool.node_changed("a", a_node(ready_at_s=None, accelerators=0), 9100.0)
    pool.node_changed("a", a_node(ready_at_s=9200.0, accelerators=8), 9201.0)
    assert stages(pool) == {}
    come_up(pool, "b")
    pool.node_changed("b", a_node(accelerators=8), 2000.0)
    pool.node_changed("b", a_node(ready_at_s=2100.0, accelerators=8), 2101.0)
    assert stages(pool) == {"ready": 60.0, "advertised": 30.0}


def test_nodes_that_are_old_when_we_meet_them_tell_nothing() -> None:
    """A controller that starts while a node's kubelet is away, or its device plugin."""
    pool = a_pool()
    pool.node_changed("away", a_node(), 90_000.0)
    pool.node_changed("away", a_node(ready_at_s=90_100.0, accelerators=8), 90_101.0)
    pool.node_changed("silent", a_node(ready_at_s=1060.0), 90_000.0)
    pool.node_changed("silent", a_node(ready_at_s=1060.0, accelerators=8), 90_100.0)
    assert stages(pool) == {}


def test_a_restart_goes_on_from_the_status() -> None:
    pool = a_pool()
    pool.orders.aim(0, 0.0)
    for number in range(3):
        pool.orders.aim(number + 1, 960.0)
        come_up(pool, f"n{number}")
    told = pool.lead.status(NODE_STAGES)
    assert told is not None
    again = a_pool(LeadTimes(msgspec.json.decode(msgspec.json.encode(told), type=LeadTimeStatus)))
    assert again.lead.told(NODE_STAGES) == pool.lead.told(NODE_STAGES)
    assert again.facts(0.0, nobody_serves).lead_s == 130.0


def test_a_node_whose_gpus_never_appear_is_told() -> None:
    pool = a_pool()
    for name in ("b", "a"):
        pool.node_changed(name, a_node(ready_at_s=1060.0), 1061.0)
    pool.node_changed("up", a_node(ready_at_s=1060.0, accelerators=8), 1061.0)
    pool.node_changed("cordoned", a_node(ready_at_s=1060.0, cordoned=True), 1061.0)
    assert pool.facts(1600.0, nobody_serves).silent is None, "an operator may still install the driver"
    silent = pool.facts(1700.0, nobody_serves).silent
    assert silent is not None
    assert (silent.nodes, silent.names, silent.since_s, silent.limit_s) == (2, ("a", "b"), 1060.0, 600.0)
    assert "2 nodes are Ready without any accelerator" in silent.words
    assert "1970-01-01T00:17:40Z: a, b; look at the device plugin" in silent.words
    pool.node_changed("a", a_node(ready_at_s=1060.0, leaving=True), 1700.0)
    pool.node_changed("b", a_node(ready_at_s=1060.0, accelerators=8), 1701.0)
    facts = pool.facts(1702.0, nobody_serves)
    assert (facts.silent, facts.nodes) == (None, 3)


def test_what_is_measured_says_how_long_gpus_may_take() -> None:
    pool = a_pool()
    for number in range(3):
        come_up(pool, f"n{number}")
    pool.node_changed("a", a_node(ready_at_s=2000.0), 2000.0)
    assert pool.facts(2047.0, nobody_serves).silent is None
    silent = pool.facts(2048.0, nobody_serves).silent
    assert silent is not None
    assert silent.limit_s == 47.5  # 30 s × 1.25 + 10 s


def test_where_device_plugins_tell_nothing_and_replicas_serve_all_is_well() -> None:
    """Dynamic resource allocation: no node of the pool has its accelerators in status.allocatable."""
    pool = a_pool()
    pool.node_changed("a", a_node(ready_at_s=1060.0), 1061.0)
    assert pool.facts(9000.0, lambda: True).silent is None
    assert pool.facts(9000.0, nobody_serves).silent is not None
    pool.node_changed("b", a_node(ready_at_s=1060.0, accelerators=8), 9000.0)
    assert pool.facts(9000.0, lambda: True).silent is not None, "the other one shows that plugins tell here"


def ready(**changes: Any) -> Node:
    return a_node(ready_at_s=1050.0, accelerators=8, **changes)


def test_a_node_that_was_to_stay_is_a_loss_and_one_that_we_gave_back_is_none() -> None:
    pool = a_pool()
    for name in "abc":
        pool.node_changed(name, ready(), 1060.0)
    pool.aim(3, 1060.0)
    pool.node_changed("a", ready(leaving=True), 1070.0)
    pool.node_changed("a", None, 1080.0)
    assert pool.facts(1090.0, nobody_serves).losses == 1.0, "once, though it was told of twice"
    pool.aim(1, 1100.0)
    pool.node_changed("b", None, 1110.0)
    assert pool.facts(1120.0, nobody_serves).losses == pytest.approx(1.0, abs=0.01)
    pool.node_changed("c", None, 1130.0)
    assert pool.facts(1140.0, nobody_serves).losses == pytest.approx(2.0, abs=0.01)


def test_what_goes_while_no_number_is_asked_for_is_no_loss() -> None:
    """Headroom without room to keep: the node autoscaler takes what it doesn't need, whatever was asked for before."""
    pool = a_pool()
    for name in "abc":
        pool.node_changed(name, ready(), 1060.0)
    pool.aim(3, 1060.0)
    pool.aim(None, 1070.0)
    pool.node_changed("a", None, 1080.0)
    assert pool.facts(1090.0, nobody_serves).losses == 0.0
    pool.node_changed("b", ready(notice="aws-node-termination-handler/spot-itn"), 1100.0)
    pool.node_changed("b", None, 1110.0)
    assert pool.facts(1120.0, nobody_serves).losses == 1.0, "that was told to go"
    pool.aim(1, 1130.0)
    pool.node_changed("c", None, 1140.0)
    assert pool.facts(1150.0, nobody_serves).losses == pytest.approx(2.0, abs=0.01)


def test_where_nobody_tells_what_is_asked_for_only_a_notice_tells_of_a_loss() -> None:
    pool = a_pool()
    for name, notice, replaced in (
        ("a", "", False),
        ("b", "aws-node-termination-handler/spot-itn", False),
        ("c", "karpenter.sh/disrupted", True),
    ):
        pool.node_changed(name, ready(notice=notice, replaced=replaced), 1060.0)
    facts = pool.facts(1061.0, nobody_serves)
    assert (facts.nodes, facts.advertised, facts.noticed, facts.replaced, facts.lost, facts.usable) == (3, 1, 2, 1, 2, 1)
    for name in "abc":
        pool.node_changed(name, None, 1070.0)
    assert pool.facts(1080.0, nobody_serves).losses == pytest.approx(1.0, abs=0.001)


def test_the_interruption_rate_is_learnt_and_remembered() -> None:
    pool = a_pool()
    now_s = 2000.0
    pool.aim(10, now_s)
    for number in range(10):
        pool.node_changed(f"n{number}", ready(), now_s)
    assert pool.facts(now_s, nobody_serves).loss_per_node_hour == pytest.approx(1 / 720, rel=0.01)
    assert pool.facts(now_s, nobody_serves).loss_words == ""
    for hour in range(240):  # ten days of ten nodes, one of which is lost every ten hours
        for _ in range(6):
            now_s += 600.0
            pool.facts(now_s, nobody_serves)
        if hour % 10 == 9:
            pool.node_changed("n0", None, now_s)
            pool.node_changed("n0", ready(), now_s)
    facts = pool.facts(now_s + 1.0, nobody_serves)
    assert facts.loss_per_node_hour is not None
    assert 0.5 / 100 < facts.loss_per_node_hour < 1 / 100, "one in a hundred node-hours, not yet quite believed"
    assert "a node is lost every" in facts.loss_words
    kept = LossesStatus(nodes=facts.losses, node_hours=facts.node_hours)
    assert NodeLosses(kept.nodes, kept.node_hours).per_node_hour == pytest.approx(facts.loss_per_node_hour, rel=0.001)
