"""Forecasts are held against what then came."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autoscaler.core.model import Forecast, Observation, Recommendation
from autoscaler.core.policy import PolicyType, Stateless
from replay.plugins import policy_ref
from replay.run import run_replay
from replay.traces.series import CountSeries
from tests.replay.made import manifests, scenario, wavy

QUANTILES = np.array([0.5, 0.9])
STEADY = CountSeries(name="steady", start_s=0.0, bin_s=15.0, counts=np.full(960, 150.0))  # four hours of 10/s


def foretelling(values: list[float], window_s: float = 60.0) -> PolicyType:
    """A policy that always foretells the same for two minutes ahead."""

    class Told(Stateless):
        def recommend(self, observation: Observation) -> Recommendation:
            n = len(observation)
            return Recommendation(
                replicas=np.full(n, 10.0),
                forecast=Forecast(
                    made_at_s=observation.at_s,
                    times_s=np.array([observation.at_s + 120.0]),
                    quantiles=QUANTILES,
                    values=np.tile(np.array(values)[None, :, None], (n, 1, 1)),
                    unit="requests/s",
                    window_s=window_s,
                ),
            )

    return PolicyType(name="told", summary="foretells", parameters=(), make=lambda params, _rng: Told(params))


def scored(values: list[float], window_s: float = 60.0) -> dict[str, Any]:
    from autoscaler.core.model import PolicyRef

    plain = scenario(warmup="1h", scale__mode="Factor")
    done = run_replay(manifests(), plain, STEADY, policy=PolicyRef(name="told"), policies={"told": foretelling(values, window_s)})
    return dict(done.score["forecast"])


def test_steady_demand_is_needed_by_as_much_as_a_wait_of_five_seconds_saves() -> None:
    # The effective demand of 10/s over a minute with 5 s to wait is 10 × 60/65 = 9.23.
    assert scored([9.2, 9.3])["coverage"] == {"0.5": 0.0, "0.9": 1.0}
    assert scored([9.2, 9.3])["horizon_s"] == 120.0
    assert scored([7.4, 7.6], window_s=15.0)["coverage"] == {"0.5": 0.0, "0.9": 1.0}  # 10 × 15/20


def test_the_loss_weighs_too_low_and_too_high_by_the_quantile() -> None:
    came = 10 * 60 / 65
    low, high = came - 1.0, came + 2.0
    assert scored([low, high])["pinball"] == pytest.approx((0.5 * 1.0 + 0.1 * 2.0) / 2, abs=1e-5)


def test_predictive_says_how_good_its_forecasts_were_and_others_nothing(tmp_path: Path) -> None:
    found = run_replay(manifests(), scenario(warmup="1h"), wavy(), policy=policy_ref("predictive")).score["forecast"]
    assert found["horizon_s"] == 120.0
    assert found["coverage"].keys() == {"0.5", "0.9", "0.99"}
    assert found["coverage"]["0.5"] <= found["coverage"]["0.9"] <= found["coverage"]["0.99"] <= 1
    assert found["coverage"]["0.99"] >= 0.9
    assert run_replay(manifests(), scenario(warmup="1h"), wavy(), policy=policy_ref("reactive")).score["forecast"] is None
