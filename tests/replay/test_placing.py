"""Which replica is on which node of the plant: what is shown agrees with what is counted, and nobody moves without need."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.seen_nodes import Runs
from replay.plant.faults import Fault, Faults
from replay.plant.lifecycle import Lifecycle
from replay.plant.nodes import Pool
from replay.plant.placing import Placing
from tests.replay.made import TIMES, specs
from tests.replay.test_lifecycle import live

SIZES = (1, 3, 12)
"""The last is larger than a node."""


def a_life() -> tuple[Lifecycle, Placing]:
    services = [replace(one, accelerators_per_replica=size) for one, size in zip(specs(len(SIZES)), SIZES, strict=True)]
    faults = Faults(np.random.Generator(np.random.PCG64([0, 1])))
    life = Lifecycle(services, [Pool("h100", 8)], [(0,)] * len(services), TIMES, faults)
    return life, Placing(life.pools[0], services, range(len(services)), partial(life.on_nodes, pool=life.pools[0]), 1000.0)


steps = st.tuples(
    st.integers(0, len(SIZES) - 1),
    st.integers(0, 9),
    st.integers(1, 400),
    st.sampled_from(["look", "look", "away", "lose", "tell"]),
)


@given(st.lists(steps, max_size=20))
def test_what_is_shown_agrees_with_what_is_counted(script: list[tuple[int, int, int, str]]) -> None:
    life, placing = a_life()
    at_s = 0
    for row, replicas, passes_s, what in script:
        life.set_replicas(row, replicas, at_s)
        if what == "lose":
            life.lose_nodes(Fault(kind="SpotLoss", from_s=at_s, until_s=at_s, share=0.3))
        elif what == "tell":
            life.lose_nodes(Fault(kind="SpotLoss", from_s=at_s + 200, until_s=at_s + 200, share=0.3, notice_s=200))
        live(life, at_s, at_s + passes_s)
        at_s += passes_s + 1
        if what == "away":
            continue
        seen, pool = placing.seen(), life.pools[0]
        nodes = seen.pick(10_000)
        counts = {"ready": pool.ready - pool.noticed, "noticed": pool.noticed, "asked": pool.coming}
        assert seen.counts == {state: count for state, count in counts.items() if count} == Counter(node.state for node in nodes)
        assert (len(nodes), seen.free) == (pool.total, pool.free)
        assert all(node.taken <= 8 for node in nodes)
        assert sum(node.taken for node in nodes) == pool.used
        for number, size in enumerate(SIZES):
            mine = [runs for node in nodes for runs in node.runs if runs.service == f"default/service-{number}"]
            kinds = life.on_nodes(number, pool)
            assert sum(runs.accelerators for runs in mine) == sum(kinds) * size
            if size == 1:
                assert tuple(sum(getattr(runs, kind) for runs in mine) for kind in ("ready", "starting", "draining")) == kinds


def test_who_is_there_stays_and_the_emptiest_node_goes() -> None:
    life, placing = a_life()
    life.begin_with(0, 20)
    before = {node.name: node.runs for node in placing.seen().pick(9)}
    key = "default/service-0"
    assert before == {
        "h100-1": (Runs(service=key, ready=8, accelerators=8),),
        "h100-2": (Runs(service=key, ready=8, accelerators=8),),
        "h100-3": (Runs(service=key, ready=4, accelerators=4),),
    }
    life.set_replicas(0, 17, 0)
    leaving = {node.name: node.runs for node in placing.seen().pick(9)}
    assert leaving == {**before, "h100-3": (Runs(service=key, ready=1, draining=3, accelerators=4),)}
    life.set_replicas(0, 15, 30)
    live(life, 0, 700)
    after = {node.name: [runs.ready for runs in node.runs] for node in placing.seen().pick(9)}
    assert after == {"h100-1": [8], "h100-2": [7]}
    life.set_replicas(0, 24, 701)
    asked = placing.seen()
    assert (asked.counts, asked.free) == ({"ready": 2, "asked": 1}, 0)
    assert [(node.name, node.state, node.since_s) for node in asked.pick(9)][-1] == ("", "asked", 1701.0)
    live(life, 702, 1100)
    assert [node.name for node in placing.seen().pick(9)] == ["h100-1", "h100-2", "h100-4"]
    assert [node.name for node in placing.seen().pick(1)] == ["h100-1"]
