"""One real HPA on trial: what it was configured to do, what it saw at each sync, what it did, and what ours says to the same."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from zlib import crc32

import numpy as np

from autoscaler.core.history import History
from autoscaler.core.model import Floats, Observation, ParamValue, Signal
from autoscaler.core.policy import complete_params, stack_params
from autoscaler.core.signals import SignalState
from policies.hpa import POLICY
from tests.policies.observations import an_observation
from tests.realparts.api import Object

SYNC_S = 1.0
BLUR_S = 0.12
"""The HPA reads the target and its pods some milliseconds before or after it reads the metric, and looks at the clock after it: what changes
so near to a sync may or may not have been seen."""


SHIFTS_S = (0.0, -BLUR_S / 2, BLUR_S / 2, -2 * BLUR_S, 2 * BLUR_S)
"""Windows and periods are whole seconds, as the syncs are: whether something is just within one is a matter of how long a sync took."""
REQUEST_BYTES = 1_000_000_007
"""What each pod asks of memory: a prime, so that hardly a share of it is a whole number of percents."""
EDGES = 0.2
"""At so many syncs the samples' mean is a target or an end of its tolerance, or one unit in all beside it."""


@dataclass(frozen=True, slots=True)
class Pods:
    """The target as it was from at_s on. replicas: its status.replicas. ready, starting: its pods' names."""

    at_s: float
    spec: int
    replicas: int
    ready: frozenset[str]
    starting: frozenset[str]


@dataclass(frozen=True, slots=True)
class Sync:
    """What the real HPA got at a sync: the value (NaN: an error) of an External metric, or the samples of pods (None: an error)."""

    at_s: float
    value: float
    samples: Mapping[str, int] | None = None


@dataclass(slots=True)
class Verdict:
    """same: ours said what the real one did. blurred: it did so for one of the states that the real one may have seen. wrong: it did not.

    apart: it did not, but a pod of a `pending` trial began to run between the samples' answer and the listing: it has no sample then, while others
    are Pending, and ours takes all pods on their way alike. Or two ends of windows fell on the sync, one to each side: a count between ours.
    """

    same: int = 0
    blurred: int = 0
    apart: int = 0
    changes: int = 0
    wrong: list[str] = field(default_factory=list)


class Trial:
    """metric: External, ExternalValue, Pods or Resource (of memory). params: ours, the same as `spec` is for the real one. values: the series; NaN:
    an error. Pods share a value unevenly.

    pod_s: how long a new pod is Pending (External metrics and `pending`), or runs without a sample (`missing`). divided: values are the work
    of all pods together, which the ready ones divide among themselves; else their mean.
    """

    def __init__(
        self,
        name: str,
        params: Mapping[str, ParamValue],
        behavior: Object | None,
        values: Floats,
        most: int,
        pod_s: float,
        divided: bool = False,
    ) -> None:
        self.name = name
        self.params = params
        self.kind = str(params.get("metric") or "External")
        self.missing = params.get("starting") == "missing"
        self._behavior = behavior
        self._values = values
        self._most = most
        self._pod_s = pod_s
        self._divided = divided
        self._unit = REQUEST_BYTES if self.kind == "Resource" else 1000
        self._rng = np.random.default_rng(crc32(name.encode()))
        self.syncs: list[Sync] = []
        self._states: list[Pods] = []
        self._deployment: Object | None = None
        self._pods: dict[str, Object] = {}

    # ------------------------------------------------------------ for the cluster

    def manifests(self) -> list[Object]:
        delay = "ready" if self.missing else "start"
        container: Object = {"name": "server", "image": "example.invalid/server"}
        if self.kind == "Resource":
            container["resources"] = {"requests": {"memory": str(REQUEST_BYTES)}}
        template = {
            "metadata": {
                "labels": {"app": self.name},
                "annotations": {f"kwok.test/{delay}-after-ms": f"{self._pod_s * 1000:.0f}"},
            },
            "spec": {"containers": [container]},
        }
        deployment = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": self.name},
            "spec": {"replicas": 3, "selector": {"matchLabels": {"app": self.name}}, "template": template},
        }
        spec: Object = {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": self.name},
            "minReplicas": 1,
            "maxReplicas": self._most,
            "metrics": [self._metric()],
        }
        if self._behavior is not None:
            spec["behavior"] = self._behavior
        hpa = {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": self.name},
            "spec": spec,
        }
        return [deployment, hpa]

    def _metric(self) -> Object:
        target = float(self.params["target"])
        if self.kind == "Resource":
            wanted: Object = {"type": "Utilization", "averageUtilization": round(100 * target)}
            return {"type": "Resource", "resource": {"name": "memory", "target": wanted}}
        if self.kind == "ExternalValue":
            wanted = {"type": "Value", "value": f"{target:.3f}"}
        else:
            wanted = {"type": "AverageValue", "averageValue": f"{target:.3f}"}
        kind = "Pods" if self.kind == "Pods" else "External"
        return {"type": kind, kind.lower(): {"metric": {"name": self.name}, "target": wanted}}

    def value_now(self) -> str | None:
        """The real HPA asks for its External metric: the Quantity that it gets, which is kept. None: it gets an error."""
        value = float(self._values[len(self.syncs) % len(self._values)])
        self.syncs.append(Sync(time.time(), value))
        return None if value != value else f"{value:.4f}"

    def samples_now(self) -> Mapping[str, str] | None:
        """The real HPA asks for its pods' samples: a Quantity for each ready pod. None: it gets an error."""
        value = float(self._values[len(self.syncs) % len(self._values)])
        if value != value:
            self.syncs.append(Sync(time.time(), value))
            return None
        names = [name for name, pod in self._pods.items() if _alive(pod) and _ready(pod)]
        if self._divided:
            value /= max(len(names), 1)
        samples = dict(zip(names, self._shares(value, len(names)), strict=True))
        self.syncs.append(Sync(time.time(), value, samples))
        return {name: str(whole) if self.kind == "Resource" else f"{whole}m" for name, whole in samples.items()}

    def _shares(self, mean: float, pods: int) -> list[int]:
        """Samples of about that mean, in thousandths or bytes, no two alike."""
        if not pods:
            return []
        total = int(mean * self._unit * pods)
        if self._rng.random() < EDGES:
            low, high = (float(self.params.get(f"scale_{side}_tolerance", 0.1)) for side in ("down", "up"))
            aim = self._rng.choice([1.0, 1.0, 1.0 - low, 1.0 + high])
            total = max(round(float(self.params["target"]) * aim * self._unit * pods) + int(self._rng.integers(-1, 2)), 0)
        cuts = np.sort(self._rng.integers(0, total + 1, pods - 1))
        return [int(share) for share in np.diff(np.concatenate(([0], cuts, [total])))]

    def see_deployment(self, deployment: Object) -> None:
        self._deployment = deployment
        self._note()

    def see_pod(self, name: str, pod: Object | None) -> None:
        if pod is None:
            self._pods.pop(name, None)
        else:
            self._pods[name] = pod
        self._note()

    def _note(self) -> None:
        if self._deployment is None:
            return
        alive = [pod for pod in self._pods.values() if _alive(pod)]
        ready = frozenset(pod["metadata"]["name"] for pod in alive if _ready(pod))
        state = Pods(
            time.time(),
            int(self._deployment["spec"]["replicas"]),
            int(self._deployment.get("status", {}).get("replicas", 0)),
            ready,
            frozenset(pod["metadata"]["name"] for pod in alive) - ready,
        )
        if not self._states or replace(state, at_s=self._states[-1].at_s) != self._states[-1]:
            self._states.append(state)

    # ------------------------------------------------------------ the comparison

    def judge(self) -> Verdict:
        """Every sync but the last one: what the real HPA made of it is the count that the next one found."""
        completed, faults = complete_params(POLICY, self.params)
        assert not faults, faults
        params = stack_params(POLICY, [completed])
        policy = POLICY.make(params, np.random.default_rng(0))
        verdict = Verdict()
        for sync, following in zip(self.syncs, self.syncs[1:], strict=False):
            spec, did = self._spec(sync.at_s), self._spec(following.at_s)
            learnt, said, after = policy.save(), [], []
            for observation in self._observations(sync, spec):
                policy = POLICY.make(params, np.random.default_rng(0))
                policy.load(learnt)
                policy.observe(observation)
                answer = policy.recommend(observation).replicas.item()
                said.append(spec if answer != answer else int(answer))
                after.append(policy)
            policy = after[said.index(did) if did in said else 0]
            verdict.changes += did != spec
            if set(said) == {did}:
                verdict.same += 1
            elif did in said:
                verdict.blurred += 1
            elif min(said) < did < max(said) or self._began_to_run(sync):
                verdict.apart += 1
            else:
                states = [(state.replicas, len(state.ready), len(state.starting)) for state in self._states_at(sync.at_s)]
                given = f"{sync.value:g}" if sync.samples is None else f"samples {sorted(sync.samples.values())}"
                verdict.wrong.append(
                    f"{self.name} {dict(self.params)}: {given} at {spec}, (replicas, ready, starting) {states}: {did}, ours {said}"
                )
        return verdict

    def _spec(self, at_s: float) -> int:
        """The count that a sync found: only the HPA changes it, right after the sync before."""
        return self._states[max(bisect_right(self._states, at_s, key=lambda state: state.at_s) - 1, 0)].spec

    def _states_at(self, at_s: float) -> list[Pods]:
        """The states that a sync may have seen: the one before, and those that came close to it."""
        last = max(bisect_right(self._states, at_s, key=lambda state: state.at_s) - 1, 0)
        near = [
            state for state in self._states if at_s - BLUR_S <= state.at_s <= at_s + BLUR_S and state.spec == self._spec(at_s)
        ]
        before = next((s for s in reversed(self._states[: last + 1]) if s.at_s < at_s - BLUR_S), self._states[last])
        return list(dict.fromkeys([self._states[last], before, *near]))

    def _began_to_run(self, sync: Sync) -> bool:
        samples = sync.samples
        return samples is not None and not self.missing and any(s.ready - samples.keys() for s in self._states_at(sync.at_s))

    def _observations(self, sync: Sync, spec: int) -> list[Observation]:
        """What the sync may have seen, the likeliest first: each state, at the moment itself and a little before and after."""
        return [
            self._observation(sync.at_s + shift_s, state, spec, sync)
            for shift_s in SHIFTS_S
            for state in self._states_at(sync.at_s)
        ]

    def _observation(self, at_s: float, pods: Pods, spec: int, sync: Sync) -> Observation:
        signal_name = str(self.params["signal"])
        value, ready, starting = sync.value, len(pods.ready), len(pods.starting)
        if self.kind == "External":
            # status.replicas is what an External metric's AverageValue is compared with; the others ask the pods.
            ready, starting = pods.replicas, 0
        elif sync.samples is not None:
            # A pod that is gone counts for nothing, nor does its sample.
            alive = pods.ready | pods.starting
            sampled = [name for name in sync.samples if name in (alive if self.missing else pods.ready)]
            ready, starting = len(sampled), len(alive) - len(sampled)
            value = sum(sync.samples[name] for name in sampled) / (self._unit * ready) if ready else float("nan")
        values = np.array([value])
        state = np.array([SignalState.UNKNOWN if value != value else SignalState.KNOWN], dtype=np.int8)
        signal = Signal(values=values, age_s=np.zeros(1), state=state, history=History(1, 1))
        counts: dict[str, Any] = {"current": [spec], "ready": [ready], "starting": [starting], "max_replicas": [self._most]}
        columns = {name: np.array(count, dtype=np.int64) for name, count in counts.items()}
        return an_observation(1, at_s, SYNC_S, {signal_name: signal}, **columns)


def _alive(pod: Object) -> bool:
    return "deletionTimestamp" not in pod["metadata"]


def _ready(pod: Object) -> bool:
    conditions = pod.get("status", {}).get("conditions") or []
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
