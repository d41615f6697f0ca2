"""What is learnt of versions, apart from how samples come about."""

from __future__ import annotations

import numpy as np
import pytest

from autoscaler.core.capacity_estimate import Estimates
from autoscaler.core.learnt_versions import LearntVersions
from autoscaler.core.model import Versions

ROWS = np.array([0])


def test_a_version_that_comes_back_after_nobody_told_is_no_longer_what_it_was_before() -> None:
    estimates, learnt = Estimates(np.array([2.0]), np.zeros(1), np.full(1, np.inf)), LearntVersions(1)
    estimates.weight[0], estimates.seen[0] = 100.0, 90.0
    told: tuple[Versions, ...] = ((("v1", 1.0),), (("", 0.96), ("v1", 0.04)), (("v1", 1.0),))
    for versions in told:
        learnt.look((versions,), ROWS, estimates)
    estimates.mean[0] = 4.0
    learnt.look(((("v1", 0.5), ("v2", 0.5)),), ROWS, estimates)
    assert learnt.means(estimates)[0] == pytest.approx(4.0)
    assert learnt.others == [{}]
