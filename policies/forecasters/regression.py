"""Recursive least squares for many services at once: weights that are learnt from one example after the other."""

from __future__ import annotations

from typing import Final

import numpy as np

from autoscaler.core.kept import Column, Kept
from autoscaler.core.model import Bools, Floats
from autoscaler.core.rows import beside, every

LARGEST: Final = 30.0
"""The mean variance of a weight, as a multiple of what it was at first, up to which old examples fade. Beyond it nothing has told
anything about some of the features for long: forgetting on would let their weights run wild at the first example that does."""


class Regression(Kept):
    """y ≈ weights · x for each of n services. weights (n, d), covariances (n, d, d).

    Source: recursive least squares with a forgetting factor (Ljung, System Identification, 2nd ed., §11.2), forgetting bounded as in
    Åström & Wittenmark, Adaptive Control, §11.5 (estimator windup)."""

    weights: Floats
    covariances: Floats

    def __init__(self, n: int, start: Floats, variance: float = 1.0) -> None:
        """start (d,): the weights of a service of which nothing is known; variance: how little they are believed."""
        self._start = start
        self._variance = variance
        self._most = LARGEST * variance * len(start)
        super().__init__(n)

    def fresh(self, n: int) -> dict[str, Column]:
        d = len(self._start)
        return {"weights": np.tile(self._start, (n, 1)), "covariances": np.tile(np.eye(d) * self._variance, (n, 1, 1))}

    def predict(self, features: Floats, row: int | None = None) -> Floats:
        """features (n, d) → (n,); with a row, (m, d) → (m,): of that service at m moments."""
        found: Floats = np.add.reduce((self.weights if row is None else self.weights[row]) * features, 1)
        return found

    def learn(self, features: Floats, values: Floats, keep: float, known: Bools | None) -> None:
        """Takes an example (n, d) → (n,) of each service; keep: what an example still counts after the next one. known (n,): the rows
        that have one, None for all."""
        told = np.matvec(self.covariances, features)
        gain = told / beside(keep + np.add.reduce(features * told, 1))
        error = values - self.predict(features)
        if known is not None:
            gain, error = np.where(known[:, None], gain, 0.0), np.where(known, error, 0.0)
            told = np.where(known[:, None], told, 0.0)
        self.weights = self.weights + gain * beside(error)
        after = gain[:, :, None] * told[:, None, :]
        self.covariances = np.subtract(self.covariances, after, out=after)
        trace = np.add.reduce(after.diagonal(0, 1, 2), 1)
        fades = trace < self._most if known is None else (trace < self._most) & known
        if every(fades):
            after *= 1.0 / keep
        else:
            after *= np.where(fades, 1.0 / keep, 1.0)[:, None, None]
