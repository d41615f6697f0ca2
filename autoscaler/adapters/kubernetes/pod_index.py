"""Which pods belong to which target, kept up to date change by change.

A pod is compared only with selectors that share a (label, value) pair with it, and a new selector only with pods that carry one of its
pairs, so ten thousand services in one namespace cost what they cost in ten thousand namespaces.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from autoscaler.adapters.kubernetes.informer import Key
from autoscaler.adapters.kubernetes.pods import Pod, PodState
from autoscaler.adapters.kubernetes.selectors import LabelSelector
from autoscaler.core.model import Versions

TargetKey: TypeAlias = tuple[str, str, str]
"""(resource's full name, namespace, name)."""
_Pair: TypeAlias = tuple[str, str, str]
"""(namespace, label, value)."""

UNSCHEDULABLE = len(PodState)
FAILING = UNSCHEDULABLE + 1


@dataclass(slots=True)
class Members:
    """A target's pods. counts: by PodState, then those that find no node (UNSCHEDULABLE) and those that do not start (FAILING).
    ready_of: ready ones by version."""

    namespace: str
    selector: LabelSelector
    pair: _Pair | None
    pods: set[Key] = field(default_factory=set)
    counts: list[int] = field(default_factory=lambda: [0] * (len(PodState) + 2))
    ready_of: dict[str, int] = field(default_factory=dict)

    def count(self, pod: Pod, by: int) -> None:
        self.counts[pod.state] += by
        if pod.state is PodState.READY:
            version = pod.version
            self.ready_of[version] = self.ready_of.get(version, 0) + by
            if not self.ready_of[version]:
                del self.ready_of[version]
        if pod.state is PodState.STARTING:
            self.counts[UNSCHEDULABLE] += by * bool(pod.unschedulable)
            self.counts[FAILING] += by * bool(pod.waiting)

    def versions(self) -> Versions:
        """Shares of the ready pods by version; of pods that tell no version nothing is known."""
        if len(self.ready_of) < 2:
            return tuple((version, 1.0) for version in self.ready_of if version)
        ready = sum(self.ready_of.values())
        return tuple((version, count / ready) for version, count in sorted(self.ready_of.items()))


class PodIndex:
    """touched: targets whose counts or pods changed since somebody emptied it. revision: moves with every such change."""

    def __init__(self) -> None:
        self.touched: set[TargetKey] = set()
        self.revision = 0
        self.pods: dict[Key, Pod] = {}
        self.on_node: defaultdict[str, set[Key]] = defaultdict(set)
        """Pods by the name of their node."""
        self.taken: defaultdict[str, int] = defaultdict(int)
        """Accelerators that pods hold, by the name of their node."""
        self.marked: set[Key] = set()
        """Pods whose deletion cost we have set."""
        self._targets: dict[TargetKey, Members] = {}
        self._by_pair: defaultdict[_Pair, list[TargetKey]] = defaultdict(list)
        self._without_pair: defaultdict[str, list[TargetKey]] = defaultdict(list)
        self._pods_by_pair: defaultdict[_Pair, set[Key]] = defaultdict(set)
        self._pods_by_namespace: defaultdict[str, set[Key]] = defaultdict(set)
        self._targets_of: dict[Key, tuple[TargetKey, ...]] = {}

    def members(self, target: TargetKey) -> Members | None:
        return self._targets.get(target)

    def targets_of(self, pod: Key) -> tuple[TargetKey, ...]:
        """The targets that select this pod; nearly always one."""
        return self._targets_of.get(pod, ())

    # ------------------------------------------------------------ targets

    def set_target(self, target: TargetKey, selector: LabelSelector | None) -> None:
        """Adds a target, changes its selector, or (None) takes it away."""
        known = self._targets.get(target)
        if known is not None:
            if known.selector == selector:
                return
            self._remove_target(target, known)
        if selector is None:
            return
        namespace = target[1]
        # Of its pairs the one that the fewest others use: `model=llama-70b` rather than `app=vllm`.
        pairs = [(namespace, label, value) for label, value in selector.pairs()]
        pair = min(pairs, key=lambda pair: len(self._by_pair.get(pair, ())), default=None)
        members = self._targets[target] = Members(namespace, selector, pair)
        (self._without_pair[namespace] if pair is None else self._by_pair[pair]).append(target)
        candidates = self._pods_by_namespace[namespace] if pair is None else self._pods_by_pair.get(pair, set())
        for key in candidates:
            pod = self.pods[key]
            if selector.matches(pod.labels):
                self._join(key, pod, target, members)
        self._touch(target)

    def _remove_target(self, target: TargetKey, members: Members) -> None:
        del self._targets[target]
        others = self._without_pair[members.namespace] if members.pair is None else self._by_pair[members.pair]
        others.remove(target)
        if not others and members.pair is not None:
            del self._by_pair[members.pair]
        for key in members.pods:
            self._targets_of[key] = tuple(other for other in self._targets_of[key] if other != target)
        self._touch(target)

    # ------------------------------------------------------------ pods

    def pod_changed(self, key: Key, old: Pod | None, new: Pod | None) -> None:
        """Takes in a pod's change (new None: it is gone)."""
        self._placed(key, "" if old is None else old.node, "" if new is None else new.node)
        self._take(old, -1)
        self._take(new, +1)
        if new is not None and new.marked:
            self.marked.add(key)
        else:
            self.marked.discard(key)
        if old is not None and new is not None and old.labels == new.labels:
            self.pods[key] = new
            if (old.state, old.unschedulable, old.waiting, old.node) == (new.state, new.unschedulable, new.waiting, new.node):
                return
            for target in self._targets_of.get(key, ()):
                self._targets[target].count(old, -1)
                self._targets[target].count(new, +1)
                self._touch(target)
            return
        if old is not None:
            self._leave(key, old)
        if new is not None:
            self._enter(key, new)

    def _placed(self, key: Key, before: str, now: str) -> None:
        if before == now:
            return
        if before:
            self.on_node[before].discard(key)
            if not self.on_node[before]:
                del self.on_node[before]
        if now:
            self.on_node[now].add(key)

    def _take(self, pod: Pod | None, by: int) -> None:
        if pod is None or not pod.node or not pod.accelerators or pod.state is PodState.OVER:
            return
        self.taken[pod.node] += by * pod.accelerators
        if not self.taken[pod.node]:
            del self.taken[pod.node]

    def _enter(self, key: Key, pod: Pod) -> None:
        namespace = key[0]
        self.pods[key] = pod
        self._pods_by_namespace[namespace].add(key)
        for pair in _pairs(namespace, pod):
            self._pods_by_pair[pair].add(key)
        for target in self._candidates(namespace, pod):
            members = self._targets[target]
            if members.selector.matches(pod.labels):
                self._join(key, pod, target, members)

    def _leave(self, key: Key, pod: Pod) -> None:
        self.pods.pop(key, None)
        self._pods_by_namespace[key[0]].discard(key)
        for pair in _pairs(key[0], pod):
            carriers = self._pods_by_pair[pair]
            carriers.discard(key)
            if not carriers:
                del self._pods_by_pair[pair]
        for target in self._targets_of.pop(key, ()):
            members = self._targets[target]
            members.pods.discard(key)
            members.count(pod, -1)
            self._touch(target)

    def _candidates(self, namespace: str, pod: Pod) -> Iterator[TargetKey]:
        for pair in _pairs(namespace, pod):
            if pair in self._by_pair:
                yield from self._by_pair[pair]
        if namespace in self._without_pair:
            yield from self._without_pair[namespace]

    def _join(self, key: Key, pod: Pod, target: TargetKey, members: Members) -> None:
        members.pods.add(key)
        members.count(pod, +1)
        self._targets_of[key] = (*self._targets_of.get(key, ()), target)
        self._touch(target)

    def _touch(self, target: TargetKey) -> None:
        self.touched.add(target)
        self.revision += 1


def _pairs(namespace: str, pod: Pod) -> Iterable[_Pair]:
    return ((namespace, label, value) for label, value in pod.labels.items())
