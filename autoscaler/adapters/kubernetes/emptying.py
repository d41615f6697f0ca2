"""Which of a target's pods are to leave, from what the pods' informer knows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np

from autoscaler.adapters.kubernetes.informer import Key
from autoscaler.adapters.kubernetes.pod_index import PodIndex, TargetKey
from autoscaler.adapters.kubernetes.pods import Pod, PodState
from autoscaler.core.emptying import NO_NODE, TargetPods, choose

BY_COST: Final = frozenset({"deployments.apps", "replicasets.apps", "rollouts.argoproj.io"})
"""Kinds whose pods ReplicaSets remove, by ``pod-deletion-cost``."""
BY_ORDINAL: Final = frozenset({"statefulsets.apps", "leaderworkersets.leaderworkerset.x-k8s.io"})
"""Kinds that remove the highest ordinal."""
_THERE: Final = (PodState.READY, PodState.STARTING)
_NAMED: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """marked: pods that have to be named, by a cost of ours. nodes: names of the nodes that become free. count: replicas that go."""

    count: int
    marked: frozenset[Key] = frozenset()
    nodes: tuple[str, ...] = ()
    why_not: str = ""

    @property
    def words(self) -> str:
        """What goes and what that frees."""
        frees = f"frees {_some(self.nodes, 'node') if self.nodes else 'no whole node yet'}"
        if self.why_not:
            return f"which of the pods go is not chosen: {self.why_not}"
        if not self.marked:
            return f"{self.count} {'pod goes' if self.count == 1 else 'pods go'} that would go first anyway, which {frees}"
        rest = self.count - len(self.marked)
        more = f" after {rest} that would go first anyway" if rest > 0 else ""
        names = sorted(name for _, name in self.marked)
        return f"{_some(names, 'pod')} {'goes' if len(names) == 1 else 'go'}{more}, which {frees}"


def removal(pods: PodIndex, target: TargetKey, replicas: int) -> Removal:
    """What is to leave of the target's pods so that `replicas` are left. Pods that are leaving already count for nothing, here and on nodes."""
    members = pods.members(target)
    mine = {key: pods.pods[key] for key in (members.pods if members is not None else ()) if pods.pods[key].state in _THERE}
    count = len(mine) - replicas
    if count <= 0:
        return Removal(count=max(count, 0))
    if len({pod.version for pod in mine.values()}) > 1:
        return Removal(
            count=count, why_not="an update is under way, and its controller shares the removal out between two versions"
        )
    nodes = sorted({pod.node for pod in mine.values() if pod.node})
    number = {name: place for place, name in enumerate(nodes)}
    keys = list(mine)
    leaving = choose(
        TargetPods(
            names=[name for _, name in keys],
            node=np.array([number.get(mine[key].node, NO_NODE) for key in keys], dtype=np.int64),
            tier=_tiers(mine.values()),
            choosable=np.array([not mine[key].cost or mine[key].marked for key in keys], dtype=np.bool_),
            created_at_s=np.array([mine[key].created_at_s for key in keys]),
            in_flight=np.zeros(len(keys)),
            held=np.array([_held(pods, name, target) for name in nodes], dtype=np.bool_),
        ),
        count,
    )
    return Removal(
        count=count,
        marked=frozenset(keys[place] for place in leaving.marked),
        nodes=tuple(nodes[place] for place in leaving.nodes),
    )


def excess(pods: PodIndex, target: TargetKey, replicas: int) -> bool:
    """Whether the target's controller has still pods to remove."""
    members = pods.members(target)
    return members is not None and sum(members.counts[state] for state in _THERE) > replicas


def _held(pods: PodIndex, node: str, target: TargetKey) -> bool:
    """Whether the node stays whatever of the target leaves: pods of other targets, or anybody's that have accelerators. What else runs there (agents
    of every node, a small pod) does not keep a node autoscaler from taking it."""
    for key in pods.on_node.get(node, ()):
        pod, targets = pods.pods[key], pods.targets_of(key)
        if target not in targets and pod.state is not PodState.OVER and (targets or pod.accelerators):
            return True
    return False


def _tiers(pods: Iterable[Pod]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The order in which a ReplicaSet removes them, as far as it isn't ours to say (kubernetes pkg/controller/controller_utils.go,
    ActivePodsWithRanks.Less): without a node, pending, not ready, ready; and among those costs that others have set. Ours is just below 0, so
    that who was given a lower one still goes before, and who was given a higher one after."""
    keys = [(_stage(pod), _others_cost(pod)) for pod in pods]
    rank = {key: place for place, key in enumerate(sorted(set(keys)))}
    return np.array([rank[key] for key in keys], dtype=np.int64)


def _stage(pod: Pod) -> int:
    if not pod.node:
        return 0
    if pod.pending:
        return 1
    return 2 if pod.state is PodState.STARTING else 3


def _others_cost(pod: Pod) -> float:
    """Of a pod without one, or with ours: 0. One that is no whole number counts as 0 for the ReplicaSet as well, and stays."""
    if pod.marked or not pod.cost:
        return 0.0
    try:
        cost = int(pod.cost)
    except ValueError:
        return 0.0
    return float(cost)


def _some(names: Iterable[str], what: str) -> str:
    """``3 pods (a, b, c)``."""
    known = list(names)
    more = ", …" if len(known) > _NAMED else ""
    return f"{len(known)} {what}{'' if len(known) == 1 else 's'} ({', '.join(known[:_NAMED])}{more})"
