"""``fixed``: always the same count. For services that must not scale, and as the yardstick of a replay."""

from __future__ import annotations

import numpy as np

from autoscaler.core.model import Ints, Observation, Recommendation
from autoscaler.core.policy import Parameter, Params, PolicyType, Stateless


class Fixed(Stateless):
    """replicas (n,): the counts. One answer serves all ticks."""

    def __init__(self, params: Params) -> None:
        super().__init__(params)
        self._answer = _answer(params)

    def rearrange(self, rows: Ints, params: Params) -> None:
        super().rearrange(rows, params)
        self._answer = _answer(params)

    def recommend(self, observation: Observation) -> Recommendation:
        return self._answer


def _answer(params: Params) -> Recommendation:
    replicas = params["replicas"].astype(np.float64)
    replicas.flags.writeable = False

    def why(row: int) -> str:
        return f"the manifest asks for {replicas[row]:.0f} always"

    return Recommendation(replicas=replicas, why=why)


POLICY = PolicyType(
    name="fixed",
    summary="always the same count",
    parameters=(
        Parameter(
            name="replicas",
            kind="int",
            default=None,
            description="the count",
            unit="replicas",
            minimum=0,
            maximum=100_000,
            tunable=True,
            search_of="bounds",
        ),
    ),
    make=lambda params, _rng: Fixed(params),
    counts_starting=True,
    source="none: a constant",
)
