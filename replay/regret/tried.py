"""Closed loop: the recorded demand lives through the fluid plant again, once with the counts that were, once with each candidate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from autoscaler.core.model import Floats, Ints, Observation, PolicyRef, PoolSpec, Recommendation, ScalingRules, ScalingSpec
from autoscaler.core.policy import Params, PolicyType, Stateless
from autoscaler.record_files import moment
from replay.compare import Row
from replay.plugins import installed
from replay.regret.recorded import Recorded
from replay.report.pictures import pictures
from replay.report.room import Room
from replay.report.words import WorstWords
from replay.run import play
from replay.scenario import Scenario, load_scenario
from replay.world import build_world

WHAT_RAN: Final = "what ran"
_FREE: Final = ScalingRules(stabilization_s=0.0, select="Max", policies=())


def setting_of(recorded: Recorded, scenario: Path | None, overrides: Mapping[str, str]) -> Scenario:
    """The scenario with what the records say: their start, interval, lead times and first counts."""
    said = {
        "start": moment(recorded.start_s),
        "interval": f"{recorded.interval_s}s",
        "scale.mode": "Factor",
        "replicas.initial": str(int(_filled(recorded.current)[:, 0].max())),
        "replicas.start": f"{max(round(float(np.median(recorded.lead_time_s))), 0)}s",
        "nodes.start": f"{max(round(float(np.median(recorded.node_lead_time_s))), 0)}s",
    }
    return load_scenario(scenario, {**said, **overrides})


def tried(
    recorded: Recorded,
    rows: Sequence[int],
    specs: Sequence[ScalingSpec],
    pools: Sequence[PoolSpec],
    scenario: Scenario,
    *,
    label: str,
    what_ran: bool,
    policy: str,
    room: Room | None,
) -> Row:
    """One candidate, or what ran, on the recorded demand of these rows. specs: one a row."""
    counts = _filled(recorded.current)[list(rows)]
    known: dict[str, PolicyType]
    if what_ran:
        specs = [_free(one, int(counts[row].max())) for row, one in enumerate(specs)]
        known = {WHAT_RAN: _what_ran(counts, recorded.start_s, recorded.interval_s)}
    else:
        known = installed({ref.name for one in specs for ref in one.policies})
    world = build_world(specs, pools, scenario, _demand(recorded, rows))
    for row in range(len(specs)):
        # Services begin with one count in a scenario; here each begins with its own.
        world.plant.life.set_replicas(row, int(counts[row, 0]), 0)
    words = WorstWords(world)
    result = play(world, scenario, policies=known, trace=label, policy=policy, reporters=[words] if room else [])
    return Row(
        score={**result.score, "loop": "closed"},
        start_s=world.start_s,
        pictures=pictures(result, words, room) if room else [],
    )


def _free(spec: ScalingSpec, most: int) -> ScalingSpec:
    """Rules that let the recorded counts be what they were."""
    return replace(
        spec,
        policies=(PolicyRef(name=WHAT_RAN),),
        min_replicas=0,
        idle_after_s=None,
        max_replicas=max(most, 1),
        scale_up=_FREE,
        scale_down=_FREE,
        schedules=(),
        pause=None,
        drain_max_at_once=0,
        replica_multiple=1,
    )


def _demand(recorded: Recorded, rows: Sequence[int]) -> Floats:
    """(n, T) requests in each second; unknown stretches are bridged by straight lines, since missing is not zero."""
    places = np.arange(recorded.ticks)
    made = []
    for row in rows:
        rates = recorded.demand_per_s[row]
        known = np.isfinite(rates)
        made.append(np.interp(places, places[known], rates[known]))
    # A rate is the mean over a while before its tick: it is taken for the interval that ends there.
    shifted = np.stack(made)[:, [*range(1, recorded.ticks), recorded.ticks - 1]]
    seconds: Floats = np.repeat(shifted, recorded.interval_s, axis=1)
    return seconds


def _filled(counts: Ints) -> Ints:
    """Counts with gaps (−1) filled by the last one before, at the beginning by the first one after."""
    filled = counts.copy()
    for row in filled:
        known = np.flatnonzero(row >= 0)
        row[:] = row[known[np.maximum(np.searchsorted(known, np.arange(len(row)), side="right") - 1, 0)]]
    return filled


class _WhatRan(Stateless):
    """The counts that were, tick by tick."""

    def __init__(self, params: Params, counts: Ints, start_s: float, interval_s: int) -> None:
        super().__init__(params)
        self._counts, self._start_s, self._interval_s = counts, start_s, interval_s

    def recommend(self, observation: Observation) -> Recommendation:
        # The count that a tick saw is what the tick before had asked for.
        place = min(int((observation.at_s - self._start_s) // self._interval_s) + 1, self._counts.shape[1] - 1)
        counts = self._counts[:, place].astype(np.float64)
        return Recommendation(replicas=counts, why=lambda row: f"the records say {counts[row]:g}")


def _what_ran(counts: Ints, start_s: float, interval_s: int) -> PolicyType:
    def make(params: Params, _rng: Any) -> _WhatRan:
        return _WhatRan(params, counts, start_s, interval_s)

    return PolicyType(name=WHAT_RAN, summary="the recorded counts", parameters=(), make=make, counts_starting=True)
