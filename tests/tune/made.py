"""Small worlds to tune in: a service of twenty replicas at most, some hours of traffic that rises and falls, a decision a minute."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from autoscaler.core.model import ParamValue, PolicyRef, ScalingSpec
from autoscaler.plugins import installed
from replay.tune.asked import Asked
from replay.tune.run import Outcome, prepared, tune
from replay.tune.space import Space, space_of
from replay.tune.study import Study
from tests.replay.made import STANDARD, specs

SETTINGS = {
    "scenario.interval": "60s",
    "scenario.metrics.period": "60s",
    "scenario.metrics.window": "60s",
    "scenario.nodes.check": "60s",
    "scenario.nodes.start": "60s",
    "scenario.scale.mode": "Factor",
    "maxReplicas": "20",
}
HOURS = 5.0


def counts(hours: float = HOURS, peak_per_s: float = 12.0, growth: float = 1.0) -> np.ndarray[Any, Any]:
    """Requests of each minute of three waves; the last third `growth` times as many."""
    places = np.arange(round(hours * 60))
    rates = peak_per_s * (0.55 - 0.45 * np.cos(places * (6 * np.pi / len(places))))
    rates[len(rates) * 2 // 3 :] *= growth
    return np.asarray(np.round(rates * 60))


def trace(folder: Path, name: str = "waves.csv", **of: float) -> Path:
    path = folder / name
    lines = [f"{60 * place},{count:g}\n" for place, count in enumerate(counts(**of))]
    path.write_text("offset_s,requests\n" + "".join(lines), encoding="utf-8")
    return path


def asked(traces: Sequence[Path], policy: PolicyRef | None = None, **changes: Any) -> Asked:
    settings = {**SETTINGS, "scenario.noise": "false", **changes.pop("settings", {})}
    fields: dict[str, Any] = {
        "manifests": [STANDARD / "manifest.yaml"],
        "scenario": STANDARD / "scenario.yaml",
        "traces": [str(path) for path in traces],
        "settings": settings,
        "policy": policy,
        "trials": 32,
        "seed": 0,
        "generation": 16,
        "held_out_ratio": 1 / 3,
        "margin_ratio": 0.25,
        "ranges": {},
        "kept": (),
    }
    return Asked(**{**fields, **changes})


def tuned(what: Asked, output: Path, study: Path | None = None, jobs: int = 1, **further: Any) -> Outcome:
    loaded = what.loaded()
    services = prepared(loaded)
    opened = None if study is None else Study(study, loaded.fingerprints())
    try:
        return tune(loaded, services, opened, output=output, jobs=jobs, **further)
    finally:
        if opened is not None:
            opened.close()


def ref(name: str, **params: ParamValue) -> PolicyRef:
    return PolicyRef(name=name, params=params)


def space(*policies: PolicyRef, ranges: dict[str, tuple[float, float]] | None = None, kept: Sequence[str] = ()) -> Space:
    from dataclasses import replace

    spec: ScalingSpec = replace(specs()[0], policies=policies)
    return space_of(spec, installed().policies, ranges or {}, kept)
