"""Many candidates as many services in one replay: parameters are arrays, so a batch costs little more than one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import msgspec
import numpy as np
import orjson

from autoscaler.core.model import Floats, PolicyRef, PoolSpec, ScalingSpec
from autoscaler.errors import UsageError
from replay.plant.kernel import compiled
from replay.plugins import installed, policy_text
from replay.rhythm import in_their_rhythm
from replay.run import play
from replay.scenario import Scenario, whole_s
from replay.traces.demand import arrivals
from replay.traces.requests import RequestLog, counted
from replay.traces.series import CountSeries
from replay.tune.parts import Stretch
from replay.world import build_world


@dataclass(frozen=True)
class Traffic:
    """A trace under its scenario. Its demand is that of the whole trace, whatever is played of it: parts must not be scaled apart."""

    label: str
    trace: CountSeries | RequestLog
    scenario: Scenario
    capacity_per_s: float

    @cached_property
    def demand(self) -> Floats:
        series = counted(self.trace) if isinstance(self.trace, RequestLog) else self.trace
        return arrivals(series, self.scenario, self.capacity_per_s)

    def __getstate__(self) -> dict[str, Any]:
        # The demand is made again where it is needed: it is many times the trace.
        return {name: value for name, value in self.__dict__.items() if name != "demand"}

    @property
    def warmup_s(self) -> int:
        return whole_s(self.scenario.warmup)

    @property
    def log(self) -> RequestLog | None:
        single = isinstance(self.trace, RequestLog) and self.scenario.plant == "requests" and self.scenario.smoothing is None
        return self.trace if single and isinstance(self.trace, RequestLog) else None


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What all batches of a service share; sent to each process once."""

    spec: ScalingSpec
    pools: tuple[PoolSpec, ...]
    traffic: tuple[Traffic, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Candidates (each the policies of one) on a stretch of a trace (its place in the setting)."""

    trace: int
    stretch: Stretch
    candidates: tuple[tuple[PolicyRef, ...], ...]

    def words(self) -> str:
        """The same for the same batch only; what a study knows it by."""
        each = "; ".join(" + ".join(policy_text(ref) for ref in refs) for refs in self.candidates)
        return f"trace {self.trace}, {self.stretch.from_s} to {self.stretch.until_s} s: {each}"


def scores_of(setting: Setting, batch: Batch) -> list[dict[str, Any]]:
    """The score of each candidate, without what differs from run to run. Each has replicas and nodes of its own.

    Raises UsageError where manifest, scenario and trace don't fit."""
    traffic = setting.traffic[batch.trace]
    names = {ref.name for refs in batch.candidates for ref in refs}
    types = installed(names)
    scenario = in_their_rhythm(traffic.scenario, [types[name] for name in sorted(names)])
    scenario = _for_each(scenario, setting.spec.key, warmup_s=batch.stretch.from_s, count=len(batch.candidates))
    specs = [
        replace(
            setting.spec,
            name=_numbered(setting.spec.name, number),
            pool=None if setting.spec.pool is None else _numbered(setting.spec.pool, number),
            pools=tuple(replace(use, name=_numbered(use.name, number)) for use in setting.spec.pools),
            policies=refs,
        )
        for number, refs in enumerate(batch.candidates)
    ]
    pools = [
        replace(pool, name=_numbered(pool.name, number))
        for pool in setting.pools
        if pool.name in setting.spec.pool_names
        for number in range(len(specs))
    ]
    part = traffic.demand[: batch.stretch.until_s]
    demand = np.broadcast_to(part, (len(specs), len(part)))
    # Batch follows batch, so a compiled plant has soon earned its start.
    world = build_world(specs, pools, scenario, demand, log=traffic.log, keep_series=False, kernel=compiled())
    found = play(world, scenario, policies=types, trace=traffic.label, keep_rows=False).score["services"]
    scores: list[dict[str, Any]] = orjson.loads(orjson.dumps([found[spec.key] for spec in specs]))  # as a study gives them back
    return [{key: value for key, value in score.items() if key not in ("wall_s", "schema")} for score in scores]


def _numbered(name: str, number: int) -> str:
    return name if number == 0 else f"{name}~{number}"


def _for_each(scenario: Scenario, key: str, *, warmup_s: int, count: int) -> Scenario:
    """The scenario with the service's faults for each of its candidates, and scored from warmup_s on."""
    if scenario.requests.two_pools:
        raise UsageError("scenario.requests.twoPools: two services that share their requests can't be tuned one by one")
    faults = []
    for window in scenario.faults:
        if window.service in ("", key):
            keys = [_numbered(key, number) for number in range(count)] if window.service else [""]
            faults += [msgspec.structs.replace(window, service=one) for one in keys]
    return msgspec.structs.replace(scenario, warmup=f"{warmup_s}s", length=None, faults=faults)


def batches(trace: int, stretch: Stretch, candidates: Sequence[tuple[PolicyRef, ...]], size: int) -> list[Batch]:
    """The candidates in batches of at most `size`, in their order."""
    return [
        Batch(trace=trace, stretch=stretch, candidates=tuple(candidates[first : first + size]))
        for first in range(0, len(candidates), size)
    ]
