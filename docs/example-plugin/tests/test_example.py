"""What a package like this one needs to test: the contract, and what its own rules say."""

from __future__ import annotations

import numpy as np
import pytest
from example_policies import fading_peak, half_hour, spare_slots

from autoscaler.core.contract import check_policy
from autoscaler.core.contract_forecaster import check_forecaster
from autoscaler.core.forecaster import Moment
from autoscaler.core.policy import PolicyType


@pytest.mark.parametrize("policy", [spare_slots.POLICY, fading_peak.POLICY], ids=lambda policy: policy.name)
def test_the_policies_keep_the_contract(policy: PolicyType) -> None:
    assert check_policy(policy) == []


def test_the_forecaster_keeps_the_contract() -> None:
    assert check_forecaster(half_hour.FORECASTER) == []


def test_the_forecaster_tells_the_highest_of_half_an_hour() -> None:
    made = half_hour.HalfHour(2)
    assert np.isnan(made.forecast()).all()
    for minute in range(60):
        rates = np.array([90.0 if minute == 10 else 5.0 + minute / 60, np.nan])
        made.observe(
            Moment(
                at_s=1_750_000_200.0 + 60 * minute,
                interval_s=60.0,
                rates=rates,
                known=np.isfinite(rates),
                logs=np.log(rates),
                floors=np.full(2, 0.01),
                levels=np.log(rates),
                reached=np.log(rates),
                whole=False,
                ahead_s=np.full(2, 120.0),
                window_s=60.0,
            )
        )
        if minute == 30:
            assert np.exp(made.forecast()[0, 0]) == pytest.approx(90.0)
    assert np.exp(made.forecast()[0, 0]) == pytest.approx(5.0 + 59 / 60)
    assert np.isnan(made.forecast()[1, 0]), "what was never known can't be told"
