"""``fading-peak``: capacity for the highest demand lately, which counts less and less. A policy that learns, on whole arrays: one object
serves all services that name it, a service is a row."""

from __future__ import annotations

from typing import Any

import numpy as np

from autoscaler.core.kept import Column, Kept
from autoscaler.core.model import Floats, Ints, Observation, Recommendation
from autoscaler.core.policy import Parameter, Params, PolicyType
from autoscaler.core.seen import seen


class FadingPeak(Kept):
    """peak (n,): the highest demand lately in requests/s; NaN before the first known sample. Kept moves it with its services, saves and
    loads it, and takes it over from an object that was shown the past."""

    peak: Floats

    def __init__(self, params: Params) -> None:
        self._params = params
        super().__init__(len(params["half_life_s"]))

    def fresh(self, n: int) -> dict[str, Column]:
        return {"peak": np.full(n, np.nan)}

    def observe(self, observation: Observation) -> None:
        keeps = 0.5 ** (observation.interval_s / self._params["half_life_s"])
        self.peak = np.fmax(self.peak * keeps, seen(observation, "demand"))

    def recommend(self, observation: Observation) -> Recommendation:
        per_replica, waits = observation.capacity_per_s, seen(observation, "queue")
        replicas = (self.peak + waits / self._params["drain_s"]) / per_replica

        def why(row: int) -> str:
            if np.isnan(replicas[row]):
                return "demand or queue is unknown: no count"
            return f"{self.peak[row]:.3g}/s at most lately and {waits[row]:.0f} waiting, at {per_replica[row]:.3g}/s a replica"

        return Recommendation(replicas=replicas, why=why)

    def rearrange(self, rows: Ints, params: Params | None = None) -> None:
        super().rearrange(rows)
        if params is not None:
            self._params = params

    def load(self, state: Any) -> None:
        if set(state) == {"peak"}:  # what another version saved is learnt anew
            super().load(state)


POLICY = PolicyType(
    name="fading-peak",
    summary="capacity for the highest demand lately, which fades",
    parameters=(
        Parameter(
            name="half_life_s",
            kind="float",
            default=1800.0,
            description="after this time a peak counts half",
            unit="s",
            minimum=60,
            maximum=86_400,
            tunable=True,
            search=(300, 14_400),
            log_scale=True,
        ),
        Parameter(
            name="drain_s",
            kind="float",
            default=60.0,
            description="a backlog is worked off within this time",
            unit="s",
            minimum=1,
            maximum=3600,
        ),
    ),
    make=lambda params, _rng: FadingPeak(params),
    signals=lambda _params: ("demand", "queue"),
    lookback_s=3600.0,
    counts_starting=True,
)
