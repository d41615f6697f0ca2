"""A pool's nodes one by one with what runs on each, from what the informers keep in memory: made when somebody looks, no request to anybody."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Final

from autoscaler.adapters.kubernetes.nodes import Node
from autoscaler.adapters.kubernetes.pod_index import PodIndex
from autoscaler.adapters.kubernetes.pods import PodState
from autoscaler.adapters.kubernetes.pool_nodes import PoolNodes
from autoscaler.core.seen_nodes import NodeState, Runs, SeenNode, SeenPool, picked

_KINDS: Final = {PodState.READY: "ready", PodState.STARTING: "starting", PodState.DRAINING: "draining"}


def seen_pool(
    nodes: PoolNodes,
    pods: PodIndex,
    service_of: Callable[[tuple[str, str]], str | None],
    *,
    now_s: float,
    serving: Callable[[], bool],
    whole: bool,
) -> SeenPool:
    """service_of: whose replica a pod is. serving: as of ``PoolNodes.facts``. whole: whether all pods are seen, of every namespace."""
    states = nodes.states(now_s, serving)
    asked = len(nodes.orders)
    counts: Counter[NodeState] = Counter(state for _, _, state in states)
    if asked:
        counts["asked"] = asked
    free = sum(max(node.accelerators - pods.taken.get(name, 0), 0) for name, node, state in states if state == "ready")
    return SeenPool(
        counts=dict(counts),
        free=free if whole else None,
        pick=partial(_pick, states, nodes, pods, service_of),
    )


def _pick(
    states: list[tuple[str, Node, NodeState]],
    nodes: PoolNodes,
    pods: PodIndex,
    service_of: Callable[[tuple[str, str]], str | None],
    most: int,
) -> tuple[SeenNode, ...]:
    asked_s = nodes.orders.times_s(most)
    ordered: list[NodeState] = ["asked"] * len(asked_s)
    places = picked([*(state for _, _, state in states), *ordered], most)
    found = []
    for place in places:
        if place >= len(states):
            found.append(SeenNode(name="", state="asked", since_s=asked_s[place - len(states)]))
            continue
        name, node, state = states[place]
        runs, others = _on(name, pods, service_of)
        since_s = node.created_at_s if state == "starting" else node.ready_at_s if state in ("ready", "silent") else None
        found.append(
            SeenNode(
                name=name,
                state=state,
                since_s=since_s,
                accelerators=node.accelerators,
                runs=runs,
                others=others,
                why=node.notice,
                replaced=node.replaced,
            )
        )
    return tuple(found)


def _on(node: str, pods: PodIndex, service_of: Callable[[tuple[str, str]], str | None]) -> tuple[tuple[Runs, ...], int]:
    """What runs on a node, by service, and the accelerators of what is nobody's."""
    counts: dict[str, Counter[str]] = {}
    others = 0
    for key in pods.on_node.get(node, ()):
        pod = pods.pods[key]
        if pod.state is PodState.OVER:
            continue
        if (service := service_of(key)) is None:
            others += pod.accelerators
            continue
        of = counts.setdefault(service, Counter())
        of[_KINDS[pod.state]] += 1
        of["accelerators"] += pod.accelerators
    runs = [Runs(service=service, **of) for service, of in sorted(counts.items())]
    return tuple(runs), others
