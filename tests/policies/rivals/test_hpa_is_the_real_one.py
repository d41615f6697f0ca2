"""``hpa`` decides as the real HPA controller does: real controller-manager and API server, programmed metrics, hundreds of decisions."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from autoscaler.core.model import Floats, ParamValue
from replay.standard.make_traces import office_week
from tests.policies.rivals.metrics_apis import MetricsApis
from tests.policies.rivals.trial import Trial
from tests.realparts.api import Object, Objects
from tests.realparts.control_plane import ControlPlane

pytestmark = pytest.mark.realparts

SYNCS = 50
TARGET = 10.0
MOST = 14


async def test_hpa_decides_as_the_real_controller(control_plane: ControlPlane, namespace: str) -> None:
    for name in "abc":
        await control_plane.add_gpu_node(name, 1, namespace=namespace)
    trials = {trial.name: trial for trial in _trials()}
    done = asyncio.Event()

    def external(metric: str) -> str | None:
        value = trials[metric].sync()
        _look_whether_done()
        return None if value != value else f"{value:.4f}"

    def pods(metric: str) -> Mapping[str, str] | None:
        trial = trials[metric]
        value = trial.sync()
        _look_whether_done()
        return None if value != value else dict.fromkeys(trial.ready_pods(), f"{value:.4f}")

    def _look_whether_done() -> None:
        if all(len(trial.syncs) > SYNCS for trial in trials.values()):
            done.set()

    watching = [
        asyncio.ensure_future(_watch_deployments(control_plane, namespace, trials)),
        asyncio.ensure_future(_watch_pods(control_plane, namespace, trials)),
    ]
    try:
        async with MetricsApis(control_plane, namespace, external, pods):
            await control_plane.apply([one for trial in trials.values() for one in trial.manifests()], namespace=namespace)
            async with asyncio.timeout(150):
                await done.wait()
            await control_plane.api.delete(f"/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers")
    finally:
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)

    verdicts = {name: trial.judge() for name, trial in trials.items()}
    wrong = [words for verdict in verdicts.values() for words in verdict.wrong]
    same, blurred = (sum(getattr(verdict, word) for verdict in verdicts.values()) for word in ("same", "blurred"))
    changes = sum(verdict.changes for verdict in verdicts.values())
    print(f"{same} decisions the same, {blurred} of those that may have seen two states, {changes} changed a count")
    assert not wrong, "\n".join(wrong[:20])
    assert same >= 200
    assert blurred < same / 4
    assert changes >= 100


async def _watch_deployments(control_plane: ControlPlane, namespace: str, trials: Mapping[str, Trial]) -> None:
    def look(deployments: Objects) -> bool:
        for name, deployment in deployments.items():
            trials[name].see_deployment(deployment)
        return False

    await control_plane.api.until(f"/apis/apps/v1/namespaces/{namespace}/deployments", look, timeout_s=300)


async def _watch_pods(control_plane: ControlPlane, namespace: str, trials: Mapping[str, Trial]) -> None:
    known: Objects = {}

    def look(pods: Objects) -> bool:
        for name in known.keys() - pods.keys():
            trials[_app(known.pop(name))].see_pod(name, None)
        for name, pod in pods.items():
            if known.get(name) is not pod:
                known[name] = pod
                trials[_app(pod)].see_pod(name, pod)
        return False

    await control_plane.api.until(f"/api/v1/namespaces/{namespace}/pods", look, timeout_s=300)


def _app(pod: Object) -> str:
    return str(pod["metadata"]["labels"]["app"])


# ---------------------------------------------------------------- what is tried


def _trials() -> list[Trial]:
    rng = np.random.default_rng(11)
    trials = []
    for number in range(10):
        params, behavior = _behavior(rng, number)
        trials.append(Trial(f"external-{number}", {**params, **_metric("External")}, behavior, _work(rng, number), MOST, 0.3))
    for number in range(3):
        params, behavior = _behavior(rng, number)
        trials.append(Trial(f"value-{number}", {**params, **_metric("ExternalValue")}, behavior, _level(rng, number), MOST, 1.5))
    for number, starting in enumerate(("pending", "missing", "pending", "missing")):
        params, behavior = _behavior(rng, number)
        given = {**params, **_metric("Pods"), "starting": starting}
        trials.append(Trial(f"pods-{starting}-{number}", given, behavior, _level(rng, number), MOST, 3.0))
    return trials


def _metric(kind: str) -> dict[str, ParamValue]:
    return {"signal": "utilization" if kind == "Pods" else "concurrency", "metric": kind, "target": TARGET}


def _behavior(rng: np.random.Generator, number: int) -> tuple[dict[str, ParamValue], Object | None]:
    """The same behavior for ours and for the real one. The first has none, the second the defaults."""
    if number == 0:
        return {"behavior": False}, None
    if number == 1:
        return {}, {"scaleUp": {"selectPolicy": "Max"}}
    params: dict[str, ParamValue] = {}
    behavior: Object = {}
    for side, field in (("up", "scaleUp"), ("down", "scaleDown")):
        policies = [
            (int(rng.integers(1, 4)), "Pods", int(rng.integers(2, 7))),
            (int(rng.integers(10, 120)), "Percent", int(rng.integers(2, 7))),
        ][: int(rng.integers(1, 3))]
        window_s = int(rng.choice([0, 3, 5, 8]))
        select = str(rng.choice(["Max", "Max", "Min"]) if number % 7 != 3 or side == "up" else "Disabled")
        tolerance = float(rng.choice([0.0, 0.05, 0.1, 0.25]))
        params[f"scale_{side}"] = "; ".join(f"{value} {kind}/{period}s" for value, kind, period in policies)
        params[f"scale_{side}_window_s"] = window_s
        params[f"scale_{side}_select"] = select
        params[f"scale_{side}_tolerance"] = tolerance
        behavior[field] = {
            "stabilizationWindowSeconds": window_s,
            "selectPolicy": select,
            "tolerance": f"{tolerance:g}",
            "policies": [{"type": kind, "value": value, "periodSeconds": period} for value, kind, period in policies],
        }
    return params, behavior


def _shape(rng: np.random.Generator, number: int) -> Floats:
    """A series of mean 1: recorded traffic's shape, a random walk, steps, spikes; some values are missing."""
    n = SYNCS + 5
    shapes: list[Any] = [
        lambda: office_week(np.linspace(86_400 + 6 * 3600, 86_400 + 20 * 3600, n)) * rng.normal(1, 0.08, n),
        lambda: np.exp(np.cumsum(rng.normal(0, 0.15, n))),
        lambda: np.repeat(rng.uniform(0.1, 2.0, n // 6 + 1), 6)[:n],
        lambda: 0.3 + 2.5 * (rng.random(n) < 0.15) + rng.uniform(0, 0.2, n),
        lambda: 1 + 0.9 * np.sin(np.arange(n) / 5) + rng.normal(0, 0.05, n),
    ]
    values: Floats = np.maximum(np.asarray(shapes[number % len(shapes)](), dtype=np.float64), 0.0)
    values = values / values.mean()
    values[rng.random(n) < 0.05] = np.nan
    return values


def _work(rng: np.random.Generator, number: int) -> Floats:
    """Work in flight that needs 7 replicas on average. Some values are exact multiples of the target."""
    values = 7 * TARGET * _shape(rng, number)
    exact = rng.random(len(values)) < 0.2
    return np.where(exact, np.round(values / TARGET) * TARGET, values)


def _level(rng: np.random.Generator, number: int) -> Floats:
    """A level around the target, whatever the count is: what an HPA does with it goes up and down without end."""
    shape = _shape(rng, number)
    return TARGET * np.clip(shape, 0.3, 1.9)
