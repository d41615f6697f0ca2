"""Small worlds for the replay's tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from autoscaler.core.model import Floats, PolicyRef, ScalingSpec
from autoscaler.manifests import load_manifests
from autoscaler.spec import Manifest
from replay.plant.faults import Faults
from replay.plant.lifecycle import Lifecycle
from replay.plant.nodes import Pool
from replay.plant.times import Times
from replay.scenario import Scenario, load_scenario
from replay.traces.series import CountSeries
from replay.world import services
from tests.conftest import ROOT

STANDARD = ROOT / "replay" / "standard"
TIMES = Times(start_s=120, drain_s=20, node_s=180, spare_s=600, check_s=15)


def manifests(**overrides: str) -> list[Manifest]:
    return load_manifests([STANDARD / "manifest.yaml"], {path.replace("__", "."): text for path, text in overrides.items()})


def scenario(**overrides: str) -> Scenario:
    return load_scenario(STANDARD / "scenario.yaml", {path.replace("__", "."): text for path, text in overrides.items()})


def specs(n: int = 1, policy: PolicyRef | None = None) -> tuple[ScalingSpec, ...]:
    from dataclasses import replace

    (one,) = services(manifests(), policy)
    return tuple(replace(one, name=f"service-{number}") for number in range(n))


def series(counts: Any, bin_s: float = 60.0, name: str = "made") -> CountSeries:
    return CountSeries(name=name, start_s=0.0, bin_s=bin_s, counts=np.asarray(counts, dtype=np.float64))


def wavy(minutes: int = 240) -> CountSeries:
    """Counts that rise and fall twice, so that every policy has something to do."""
    return series(1200 + 1000 * np.sin(np.arange(minutes) * (4 * np.pi / minutes)))


def lifecycle(n: int = 1, slots: int = 8, times: Times = TIMES, **pool: Any) -> Lifecycle:
    rng = np.random.Generator(np.random.PCG64(1))
    pools = [Pool(f"pool-{number}", slots, **pool) for number in range(n)]
    return Lifecycle(specs(n), pools, [(number,) for number in range(n)], times, Faults(rng))


def noise(seed: int, *shape: int) -> Floats:
    return np.random.Generator(np.random.PCG64(seed)).random(shape)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path
