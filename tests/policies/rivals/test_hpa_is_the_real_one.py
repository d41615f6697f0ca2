"""``hpa`` decides as the real HPA controller does: real controller-manager and API server, programmed metrics, hundreds of decisions."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.policies.rivals.metrics_apis import MetricsApis
from tests.policies.rivals.trial import Trial, Verdict
from tests.policies.rivals.trials import RECORDED_SYNCS, SYNCS, random_trials, recorded_trials
from tests.realparts.api import Object, Objects
from tests.realparts.control_plane import ControlPlane

pytestmark = pytest.mark.realparts


async def test_hpa_decides_as_the_real_controller(control_plane: ControlPlane, namespace: str) -> None:
    verdicts = await _tried(control_plane, namespace, random_trials(), SYNCS)
    _agreed(verdicts, decisions=800, changes=100)


async def test_hpa_decides_as_the_real_controller_on_recorded_traffic(
    control_plane: ControlPlane, namespace: str, shared_traces: Path
) -> None:
    verdicts = await _tried(control_plane, namespace, recorded_trials(shared_traces), RECORDED_SYNCS)
    _agreed(verdicts, decisions=500, changes=80)


def _agreed(verdicts: Sequence[Verdict], decisions: int, changes: int) -> None:
    wrong = [words for verdict in verdicts for words in verdict.wrong]
    words = ("same", "blurred", "apart", "changes")
    same, blurred, apart, changed = (sum(getattr(verdict, word) for verdict in verdicts) for word in words)
    print(f"{same} decisions the same, {blurred} of two states, {apart} apart, {changed} changed a count")
    assert not wrong, "\n".join(wrong[:20])
    assert same >= decisions
    assert blurred < same / 4
    assert apart < same / 50
    assert changed >= changes


async def _tried(control_plane: ControlPlane, namespace: str, made: Sequence[Trial], syncs: int) -> list[Verdict]:
    """All trials at once, each until its HPA has synced so often."""
    for name in "abc":
        await control_plane.add_gpu_node(name, 1, namespace=namespace)
    trials = {trial.name: trial for trial in made}
    done = asyncio.Event()

    def external(metric: str) -> str | None:
        value = trials[metric].value_now()
        _look_whether_done()
        return value

    def samples(name: str) -> Mapping[str, str] | None:
        found = trials[name].samples_now()
        _look_whether_done()
        return found

    def _look_whether_done() -> None:
        if all(len(trial.syncs) > syncs for trial in trials.values()):
            done.set()

    watching = [
        asyncio.ensure_future(_watch_deployments(control_plane, namespace, trials)),
        asyncio.ensure_future(_watch_pods(control_plane, namespace, trials)),
    ]
    try:
        async with MetricsApis(control_plane, namespace, external, samples, samples):
            await control_plane.apply([one for trial in trials.values() for one in trial.manifests()], namespace=namespace)
            async with asyncio.timeout(150):
                await done.wait()
            await control_plane.api.delete(f"/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers")
    finally:
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)

    return [trial.judge() for trial in trials.values()]


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
