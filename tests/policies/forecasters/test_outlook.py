"""The mix of experts: how far it may lie from all of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from autoscaler.core.model import Floats
from policies.forecasters import levels, peaks, trend
from policies.forecasters.levels import MINUTE
from policies.forecasters.outlook import BEYOND, Outlook

SERVICES = 3
EXPERTS = len(levels.FORECASTER.experts) + len(trend.FORECASTER.experts) + len(peaks.FORECASTER.experts)
words = arrays(np.float64, (SERVICES, EXPERTS + 1), elements=st.floats(-2.0, 2.0))


@given(said=words, weights=words)
def test_a_mix_lies_within_reach_of_its_experts_and_is_their_sum_where_that_does(said: Floats, weights: Floats) -> None:
    outlook = Outlook(SERVICES, [levels.FORECASTER, trend.FORECASTER, peaks.FORECASTER], 60.0)
    said[:, MINUTE] = 0.0  # all of them are differences to the last minute's level
    outlook.mix.weights = weights
    mixed = outlook._mixed(said)
    summed = outlook.mix.predict(said)
    experts = said[:, :-1]
    assert mixed.tolist() == np.clip(summed, experts.min(1) - BEYOND, experts.max(1) + BEYOND).tolist()
    for row in range(SERVICES):
        assert outlook._mixed(said[row : row + 1], row).tolist() == [mixed[row]]


def test_where_nobody_says_as_the_level_does_a_small_change_may_be_too_far_from_all() -> None:
    outlook = Outlook(1, [trend.FORECASTER], 60.0)
    outlook.mix.weights = np.array([[0.05, 0.05, 0.0]])
    assert outlook._mixed(np.array([[2.0, 1.0, 0.1]])).tolist() == pytest.approx([1.0 - BEYOND])
