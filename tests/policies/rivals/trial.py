"""One real HPA on trial: what it was configured to do, what it saw at each sync, what it did, and what ours says to the same."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

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


@dataclass(frozen=True, slots=True)
class Pods:
    """The target as it was from at_s on. replicas: its status.replicas. ready, starting: its pods."""

    at_s: float
    spec: int
    replicas: int
    ready: int
    starting: int


@dataclass(slots=True)
class Verdict:
    """same: ours said what the real one did. blurred: it did so for one of the states that the real one may have seen. wrong: it did not."""

    same: int = 0
    blurred: int = 0
    changes: int = 0
    wrong: list[str] = field(default_factory=list)


class Trial:
    """metric: External, ExternalValue or Pods. params: ours, the same as `spec` is for the real one. values: the series; NaN: an error.

    pod_s: how long a new pod is Pending (External metrics and `pending`), or runs without a sample (`missing`).
    """

    def __init__(
        self,
        name: str,
        params: Mapping[str, ParamValue],
        behavior: Object | None,
        values: Floats,
        most: int,
        pod_s: float,
    ) -> None:
        self.name = name
        self.params = params
        self.kind = str(params.get("metric") or "External")
        self.missing = params.get("starting") == "missing"
        self._behavior = behavior
        self._values = values
        self._most = most
        self._pod_s = pod_s
        self.syncs: list[tuple[float, float]] = []
        self._states: list[Pods] = []
        self._deployment: Object | None = None
        self._pods: dict[str, Object] = {}

    # ------------------------------------------------------------ for the cluster

    def manifests(self) -> list[Object]:
        delay = "ready" if self.missing else "start"
        template = {
            "metadata": {
                "labels": {"app": self.name},
                "annotations": {f"kwok.test/{delay}-after-ms": f"{self._pod_s * 1000:.0f}"},
            },
            "spec": {"containers": [{"name": "server", "image": "example.invalid/server"}]},
        }
        deployment = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": self.name},
            "spec": {"replicas": 3, "selector": {"matchLabels": {"app": self.name}}, "template": template},
        }
        target = f"{float(self.params['target']):.3f}"
        metric: Object = {"metric": {"name": self.name}}
        if self.kind == "ExternalValue":
            metric["target"] = {"type": "Value", "value": target}
        else:
            metric["target"] = {"type": "AverageValue", "averageValue": target}
        kind = "Pods" if self.kind == "Pods" else "External"
        spec: Object = {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": self.name},
            "minReplicas": 1,
            "maxReplicas": self._most,
            "metrics": [{"type": kind, kind.lower(): metric}],
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

    def sync(self) -> float:
        """The real HPA asks for its metric: the value that it gets, which is kept. NaN: it gets an error."""
        value = float(self._values[len(self.syncs) % len(self._values)])
        self.syncs.append((time.time(), value))
        return value

    def ready_pods(self) -> list[str]:
        return [name for name, pod in self._pods.items() if _alive(pod) and _ready(pod)]

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
        ready = sum(_ready(pod) for pod in alive)
        state = Pods(
            time.time(),
            int(self._deployment["spec"]["replicas"]),
            int(self._deployment.get("status", {}).get("replicas", 0)),
            ready,
            len(alive) - ready,
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
        for (at_s, value), (next_s, _) in zip(self.syncs, self.syncs[1:], strict=False):
            spec, did = self._spec(at_s), self._spec(next_s)
            learnt, said, after = policy.save(), [], []
            for observation in self._observations(at_s, spec, value):
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
            else:
                states = [(state.replicas, state.ready, state.starting) for state in self._states_at(at_s)]
                verdict.wrong.append(
                    f"{self.name} {dict(self.params)}: {value:g} at {spec}, (replicas, ready, starting) {states}: {did}, ours {said}"
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

    def _observations(self, at_s: float, spec: int, value: float) -> list[Observation]:
        """What the sync may have seen, the likeliest first: each state, at the moment itself and a little before and after."""
        return [
            self._observation(at_s + shift_s, state, spec, value)
            for shift_s in (0.0, -BLUR_S / 2, BLUR_S / 2)
            for state in self._states_at(at_s)
        ]

    def _observation(self, at_s: float, pods: Pods, spec: int, value: float) -> Observation:
        signal_name = str(self.params["signal"])
        values = np.array([value])
        state = np.array([SignalState.UNKNOWN if value != value else SignalState.KNOWN], dtype=np.int8)
        signal = Signal(values=values, age_s=np.zeros(1), state=state, history=History(1, 1))
        # status.replicas is what an External metric's AverageValue is compared with; the others ask the pods.
        ready, starting = (pods.replicas, 0) if self.kind == "External" else (pods.ready, pods.starting)
        counts: dict[str, Any] = {"current": [spec], "ready": [ready], "starting": [starting], "max_replicas": [self._most]}
        columns = {name: np.array(count, dtype=np.int64) for name, count in counts.items()}
        return an_observation(1, at_s, SYNC_S, {signal_name: signal}, **columns)


def _alive(pod: Object) -> bool:
    return "deletionTimestamp" not in pod["metadata"]


def _ready(pod: Object) -> bool:
    conditions = pod.get("status", {}).get("conditions") or []
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
