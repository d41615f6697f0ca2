"""Recursive least squares against the closed form."""

from __future__ import annotations

import numpy as np
import pytest

from policies.forecasters.regression import LARGEST, Regression


def learnt(features: np.ndarray, values: np.ndarray, keep: float) -> Regression:
    regression = Regression(values.shape[1], np.zeros(features.shape[2]))
    for x, y in zip(features, values, strict=True):
        regression.learn(x, y, keep, None)
    return regression


@pytest.mark.parametrize("keep", [1.0, 0.97])
def test_it_is_weighted_least_squares_with_a_prior(keep: float) -> None:
    rng = np.random.default_rng(1)
    features = rng.normal(size=(80, 2, 3))
    values = features @ np.array([0.5, -1.0, 2.0]) + 0.1 * rng.normal(size=(80, 2))
    regression = learnt(features, values, keep)
    weights = keep ** np.arange(79, -1, -1)
    for row in range(2):
        x, y = features[:, row], values[:, row]
        closed = np.linalg.solve((x * weights[:, None]).T @ x + keep**80 * np.eye(3), (x * weights[:, None]).T @ y)
        assert regression.weights[row] == pytest.approx(closed, rel=1e-8)


def test_a_feature_that_is_silent_for_a_year_does_not_run_wild_at_its_first_word() -> None:
    rng = np.random.default_rng(2)
    regression = Regression(1, np.zeros(2))
    for _ in range(200_000):
        x = np.array([[rng.normal(), 0.0]])
        regression.learn(x, x[:, 0], 0.9999, None)
    assert np.isfinite(regression.covariances).all()
    assert np.trace(regression.covariances[0]) <= LARGEST * 2 * 1.001
    regression.learn(np.array([[1.0, 0.1]]), np.array([1.2]), 0.9999, None)
    assert abs(regression.weights[0, 1]) <= 2.0


def test_rows_without_an_example_stay_exactly_as_they_are() -> None:
    regression = Regression(2, np.zeros(1))
    regression.learn(np.array([[1.0], [1.0]]), np.array([3.0, np.nan]), 0.99, np.array([True, False]))
    assert regression.weights[1].tolist() == [0.0]
    assert regression.covariances[1].tolist() == [[1.0]]
    assert regression.weights[0, 0] == pytest.approx(3.0 / 1.99)
