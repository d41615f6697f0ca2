"""Small fleets, pods and samples for the tests of the Prometheus adapter. No mocks: an index in memory and numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from autoscaler.adapters.prometheus import PrometheusSettings, PrometheusSource, ServerSettings
from autoscaler.clock import ManualClock
from autoscaler.core.model import Fleet, Readings, ScalingSpec
from autoscaler.core.signals import SignalState
from autoscaler.spec import Query, Signals
from tests.ticks import a_spec

NOW_S = 1_700_000_000.0
Written: TypeAlias = list[tuple[dict[str, str], list[tuple[float, float]]]]


@dataclass
class PodsInMemory:
    """`autoscaler.ports.ReadyPods` that tests set."""

    pods: dict[tuple[str, str], int] = field(default_factory=dict)
    revision: int = 0
    sharing: dict[int, list[int]] = field(default_factory=dict)

    def rows_by_pod(self) -> Mapping[tuple[str, str], int]:
        return self.pods

    def sharing_rows(self) -> Mapping[int, list[int]]:
        return self.sharing

    def set(self, pods: Mapping[tuple[str, str], int]) -> None:
        self.pods = dict(pods)
        self.revision += 1


def a_service(name: str, signals: Signals | None = None, namespace: str = "team", **changes: Any) -> ScalingSpec:
    return a_spec(name, namespace, sources=signals or Signals(), **changes)


def a_fleet(specs: Sequence[ScalingSpec], ready: Sequence[int] | None = None, revision: int = 1, **changes: Any) -> Fleet:
    count = len(specs)
    counts = np.array(ready if ready is not None else [1] * count, dtype=np.int64)
    arrays: dict[str, Any] = {
        "current": counts,
        "ready": counts,
        "starting": np.zeros(count, dtype=np.int64),
        "draining": np.zeros(count, dtype=np.int64),
        "lead_time_s": np.full(count, 120.0),
        "node_lead_time_s": np.full(count, 180.0),
        "hands_off": np.zeros(count, dtype=np.bool_),
    }
    return Fleet(revision=revision, specs=tuple(specs), **{**arrays, **changes})


def own(signal: Any, query: str) -> Signals:
    """Signals with own PromQL for one signal and no presets."""
    return Signals(presets=[], queries=[Query(signal=signal, query=query)])


def gauge(name: str, value: float, *, at_s: float = NOW_S - 2, pod: str = "a", namespace: str = "team", **labels: str) -> Written:
    """A gauge scraped each 15 s for two minutes until `at_s`, always `value`."""
    return counter(name, 0.0, at_s=at_s, pod=pod, namespace=namespace, start=value, **labels)


def counter(
    name: str,
    per_s: float,
    *,
    at_s: float = NOW_S - 2,
    pod: str = "a",
    namespace: str = "team",
    start: float = 1000.0,
    **labels: str,
) -> Written:
    """A counter that rose by `per_s` per second from `start` until `at_s`."""
    identity = {"job": "models", "instance": f"{pod}:8000", **labels}
    samples = [(at_s - back, start + per_s * (120.0 - back)) for back in np.arange(120.0, -1.0, -15.0).tolist()]
    return [({"__name__": name, "pod": pod, "namespace": namespace, **identity}, samples)]


def histogram(name: str, per_s: Mapping[str, float], **labels: Any) -> Written:
    """Cumulative buckets: by `le`, how much each rises per second."""
    return [one for le, rate in per_s.items() for one in counter(f"{name}_bucket", rate, le=le, **labels)]


def vllm(
    pod: str = "a", namespace: str = "team", *, queue: float = 3.0, running: float = 5.0, per_s: float = 2.0, **labels: Any
) -> Written:
    """What a vLLM pod shows of its work."""
    where = {"pod": pod, "namespace": namespace, "model_name": "m", "engine": "0", **labels}
    return [
        *gauge("vllm:num_requests_waiting", queue, **where),
        *gauge("vllm:num_requests_running", running, **where),
        *counter("vllm:request_success_total", per_s, finished_reason="stop", **where),
    ]


def a_source(url: str, pods: PodsInMemory, **settings: Any) -> PrometheusSource:
    server = {name: settings.pop(name) for name in list(settings) if name in ServerSettings.__dataclass_fields__}
    return PrometheusSource(PrometheusSettings(default=ServerSettings(url=url, **server), **settings), pods, ManualClock())


def wanted(fleet: Fleet, *signals: str) -> dict[str, list[int]]:
    return {signal: list(range(len(fleet))) for signal in signals}


def value(readings: Readings, signal: str, row: int = 0) -> tuple[Any, str]:
    """(value, state) of a signal."""
    column = readings.signals[signal]
    return float(column.values[row]), SignalState(column.state[row]).name


def all_of(*written: Iterable[Any]) -> Any:
    return [one for series in written for one in series]
