"""``fixed``: always the same count. For services that must not scale, and as the yardstick of a replay."""

from __future__ import annotations

from typing import Final

import numpy as np

from autoscaler.core.model import Bools, Floats, Ints, Observation, Recommendation
from autoscaler.core.policy import Parameter, Params, PolicyType, Stateless

AS_FOUND: Final = -1
"""No count given: the one that is there stays."""


class Fixed(Stateless):
    """replicas (n,): the counts; −1 where the count stays as it is found. Where all are given, one answer serves all ticks."""

    def __init__(self, params: Params) -> None:
        super().__init__(params)
        self._take(params)

    def rearrange(self, rows: Ints, params: Params) -> None:
        super().rearrange(rows, params)
        self._take(params)

    def _take(self, params: Params) -> None:
        self._given: Floats = params["replicas"].astype(np.float64)
        self._as_found: Bools = self._given == AS_FOUND
        self._answer = None if self._as_found.any() else _answer(self._given, self._as_found)

    def recommend(self, observation: Observation) -> Recommendation:
        if self._answer is not None:
            return self._answer
        # Read anew at each tick, not remembered: whoever else moves the count (a person, a schedule's bounds) keeps the last word.
        return _answer(np.where(self._as_found, observation.current, self._given), self._as_found)


def _answer(replicas: Floats, as_found: Bools) -> Recommendation:
    replicas.flags.writeable = False

    def why(row: int) -> str:
        if as_found[row]:
            return f"the manifest gives no count: the {replicas[row]:.0f} found stay"
        return f"the manifest asks for {replicas[row]:.0f} always"

    return Recommendation(replicas=replicas, why=why)


POLICY = PolicyType(
    name="fixed",
    summary="always the same count",
    parameters=(
        Parameter(
            name="replicas",
            kind="int",
            default=AS_FOUND,
            description=f"the count; {AS_FOUND}: the count stays as it is found",
            unit="replicas",
            minimum=AS_FOUND,
            maximum=100_000,
            tunable=True,
            search_of="bounds",
        ),
    ),
    make=lambda params, _rng: Fixed(params),
    counts_starting=True,
    source="none: a constant",
)
