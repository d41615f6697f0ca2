"""A made service whose users set their clocks for summer or winter, while what is learnt is kept in UTC."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from msgspec.structs import replace as with_settings

from autoscaler.core.model import Floats, PolicyRef
from replay.plugins import installed
from replay.run import play
from replay.scenario import Scenario
from replay.world import build_world
from tests.replay.made import specs

SHIFTS_H: Final = {"none": 0, "to summer": 1, "to winter": -1}
_HOUR_S: Final = 3600
_DAY_S: Final = 86_400


def steep_day(local_s: Floats) -> Floats:
    """Rates per second: 8 at night, 50 from half past eight on after a ramp of half an hour, in the evening slowly back."""
    hour = local_s / _HOUR_S % 24
    rates: Floats = np.interp(
        hour, [0.0, 8.0, 8.5, 12.0, 13.0, 14.0, 18.0, 22.0, 24.0], [8.0, 8.0, 50.0, 55.0, 42.0, 52.0, 40.0, 12.0, 8.0]
    )
    return rates


def demand(days: int, changes_on: int, shifts_h: Sequence[int]) -> Floats:
    """Requests in each second (n, T) of services whose users set their clocks by shifts_h (n,), at two in the night of day `changes_on`."""
    at_s = np.arange(float(days * _DAY_S))
    changed = at_s >= changes_on * _DAY_S + 2 * _HOUR_S
    local_s = at_s + _HOUR_S * np.array(shifts_h)[:, None] * changed
    rng = np.random.Generator(np.random.PCG64(11))
    return rng.poisson(steep_day(local_s)).astype(np.float64)


def after_a_change(scenario: Scenario, policy: str, learnt_days: int, scored_days: int) -> dict[str, tuple[float, float]]:
    """(attained in per cent, replica-hours) of the days after the change, by SHIFTS_H: three services in one replay."""
    arrivals = demand(learnt_days + scored_days, learnt_days, list(SHIFTS_H.values()))
    world = build_world(
        specs(len(SHIFTS_H), PolicyRef(name=policy)),
        (),
        with_settings(scenario, warmup=f"{learnt_days}d"),
        arrivals,
        keep_series=False,
    )
    scores = play(world, scenario, policies=installed({policy}), keep_rows=False).score["services"].values()
    return {name: (100 * score["attained_ratio"], score["replica_hours"]) for name, score in zip(SHIFTS_H, scores, strict=True)}
