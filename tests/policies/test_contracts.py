"""Every shipped policy keeps the contract, with its defaults and with its other ways of working."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from autoscaler.core.contract import check_policy
from autoscaler.core.model import ParamValue
from autoscaler.core.policy import PolicyType
from autoscaler.core.signals import SIGNALS
from policies import fixed, hpa, keda, kpa, predictive, reactive, schedule, seasonal, target, tokens, wva

CASES: list[tuple[PolicyType, Mapping[str, ParamValue]]] = [
    (fixed.POLICY, {}),
    (fixed.POLICY, {"replicas": 3}),
    (target.POLICY, {}),
    (target.POLICY, {"signal": "demand"}),
    (target.POLICY, {"tolerance": 0.1}),
    (kpa.POLICY, {}),
    (kpa.POLICY, {"signal": "demand", "stable_window_s": 300, "scale_down_delay_s": 120, "activation_scale": 3}),
    (keda.POLICY, {}),
    (keda.POLICY, {"triggers": "cron", "start": "8 15 * * *", "end": "12 15 * * *", "desired_replicas": 7}),
    (keda.POLICY, {"triggers": "prometheus+cron", "desired_replicas": 7, "min_replica_count": 0, "cooldown_period_s": 60}),
    (keda.POLICY, {"unknown": "error", "fallback_replicas": 6, "idle_replica_count": 0, "min_replica_count": 2}),
    (keda.POLICY, {"signal": "utilization", "metric_type": "Value", "threshold": 0.7, "behavior": True}),
    (tokens.POLICY, {}),
    (tokens.POLICY, {"bound": "cache", "cache_tokens": 20000.0}),
    (tokens.POLICY, {"bound": "throughput", "window_s": 0.0, "memory_s": 600.0}),
    (wva.POLICY, {}),
    (wva.POLICY, {"analyzer": "V1"}),
    (hpa.POLICY, {}),
    (hpa.POLICY, {"signal": "utilization", "target": 0.7}),
    (predictive.POLICY, {}),
    (predictive.POLICY, {"miss": 5.0, "keep": 0.0, "wait_s": 1.0, "room": 0.0}),
    (reactive.POLICY, {}),
    (reactive.POLICY, {"basis": "running"}),
    (reactive.POLICY, {"window_s": 15.0, "floor": 0.0, "wait_s": 2.0, "sample_s": 60.0, "hold_s": 0.0}),
    (seasonal.POLICY, {}),
    (seasonal.POLICY, {"profile": "day", "timezone": "Asia/Kolkata"}),
]


CASES += [(target.POLICY, {"signal": name, "target": 1.5}) for name in SIGNALS]


@pytest.mark.parametrize(("policy", "params"), CASES, ids=[f"{p.name}-{'-'.join(map(str, g.values()))}" for p, g in CASES])
def test_it_keeps_the_contract(policy: PolicyType, params: Mapping[str, ParamValue]) -> None:
    assert check_policy(policy, params) == []


def test_a_schedule_keeps_the_contract(tmp_path: Path) -> None:
    file = tmp_path / "plan.csv"
    file.write_text("at_s,replicas\n-60,1\n0,3\n120,5\n400,2\n")
    assert check_policy(schedule.POLICY, {"file": str(file)}) == []
    assert check_policy(schedule.POLICY, {"file": str(file), "start_s": 1_750_000_100.0}) == []


def test_the_entry_points_name_them() -> None:
    found = {entry.name: entry.load() for entry in entry_points(group="inference_autoscaler.policies")}
    for policy in (
        fixed.POLICY,
        schedule.POLICY,
        target.POLICY,
        hpa.POLICY,
        kpa.POLICY,
        keda.POLICY,
        predictive.POLICY,
        reactive.POLICY,
        seasonal.POLICY,
        tokens.POLICY,
    ):
        assert found[policy.name] is policy


def test_importing_policies_is_light() -> None:
    modules = ", ".join(
        f"policies.{name}"
        for name in ["fixed", "schedule", "target", "hpa", "kpa", "predictive", "reactive", "seasonal", "tokens", "each"]
    )
    code = (
        f"import sys, {modules};"
        "heavy = {'scipy', 'aiohttp', 'kubernetes_asyncio', 'pandas', 'asyncio', 'msgspec', 'autoscaler.spec'} & set(sys.modules);"
        "print(*sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "\n", "")
