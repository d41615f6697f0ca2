"""Policies driven open-loop: readings come from a trace of signals, replicas follow decisions, and nothing comes back.

For recordings without a demand (queue, GPU utilization, latencies as they were): what a policy would have decided can be seen, what would
have become of the requests can't, because the recorded queue is that of the replicas that there were. So waits and attainment are null.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from autoscaler import spec
from autoscaler.core.model import Fleet, Floats, PolicyRef, Readings, SignalColumn
from autoscaler.core.policy import PolicyType
from autoscaler.core.signals import IDLE, KNOWN, UNKNOWN
from autoscaler.errors import UsageError
from autoscaler.ports import Backfill
from replay.plugins import installed, policy_text
from replay.recording import RecordFile
from replay.run import Progress, Result, play
from replay.scenario import Scenario, whole_s
from replay.traces.signal_series import SignalSeries
from replay.world import build_world, node_pools, services

_WORK: Final = ("demand", "throughput", "queue", "running", "concurrency")
_OF_REQUESTS: Final = ("ttft_s", "itl_s", "latency_s", "queue_wait_s")
_NOT_JUDGED: Final = ("attained_ratio", "requests", "wait_s")


def run_open_loop(
    manifests: Sequence[spec.Manifest],
    scenario: Scenario,
    trace: SignalSeries,
    *,
    policy: PolicyRef | None = None,
    policies: dict[str, PolicyType] | None = None,
    records: Path | None = None,
    progress: Progress | None = None,
) -> Result:
    """Every service of the manifests sees the whole trace. The score has ``open_loop`` true and nothing of requests.

    Raises UsageError where manifests, scenario and trace don't fit, and where the trace holds nothing that a policy reads."""
    # What recorded replicas did tells nothing of those that follow other decisions.
    specs = tuple(replace(one, capacity=replace(one.capacity, learnt=False)) for one in services(manifests, policy))
    length_s = int(trace.span_s) if scenario.length is None else min(int(trace.span_s), whole_s(scenario.length))
    if length_s < 1:
        raise UsageError(f"trace {trace.name}: spans {trace.span_s:g} s, at least one second is needed")
    # The fluid plant brings replicas and nodes up and down; no request ever reaches it.
    scenario = msgspec.structs.replace(scenario, plant="fluid")
    world = build_world(specs, node_pools(manifests), scenario, np.zeros((len(specs), length_s)))
    world = replace(world, metrics=TraceMetrics(trace, [one.stale_after_s for one in specs], world.start_s))
    named = {ref.name for one in specs for ref in one.policies}
    with RecordFile(records, seed=scenario.seed) as recorder:
        result = play(
            world,
            scenario,
            policies=installed(named) if policies is None else policies,
            trace=trace.name,
            policy="" if policy is None else policy_text(policy),
            recorder=recorder,
            progress=progress,
        )
    return replace(result, score=_unjudged(result.score))


def _unjudged(score: Mapping[str, Any]) -> dict[str, Any]:
    """The score without what an open loop can't tell."""
    found = {**score, **dict.fromkeys(_NOT_JUDGED), "open_loop": True}
    if "services" in score:
        found["services"] = {key: _unjudged(one) for key, one in score["services"].items()}
    return found


class TraceMetrics:
    """A MetricSource that reads a trace. start_s: Unix time of the trace's beginning in the replay. stale_after_s (n,).

    As in the cluster, the last value stays in force until it is older than a service's `stale_after_s`; ``concurrency`` is queue + running
    where the trace has those and not it; work is idle where all recorded work is 0, and so is a latency that is missing then.
    """

    def __init__(self, trace: SignalSeries, stale_after_s: Sequence[float], start_s: float) -> None:
        self._name = trace.name
        self._step_s = trace.step_s
        self._start_s = start_s
        self._stale_s: Floats = np.array(stale_after_s, dtype=np.float64)
        self._values = dict(trace.signals)
        if "concurrency" not in self._values and {"queue", "running"} <= self._values.keys():
            self._values["concurrency"] = self._values["queue"] + self._values["running"]
        self._newest = {name: _newest_known(values) for name, values in self._values.items()}
        work = [self._values[name] for name in _WORK if name in self._values]
        self._quiet = np.all([values == 0 for values in work], axis=0) if work else np.zeros(len(trace), dtype=np.bool_)

    async def read(self, fleet: Fleet, wanted: Mapping[str, Sequence[int]], at_s: float, deadline_s: float) -> Readings:
        """Raises UsageError where the trace holds none of what is wanted: every decision would be a blind one."""
        if wanted and not any(name in self._values for name in wanted):
            raise UsageError(
                f"trace {self._name}: holds {', '.join(self._values)}, and the policies read {', '.join(wanted)}; "
                "name a policy that reads one of the trace's signals"
            )
        place = min(int((at_s - self._start_s) / self._step_s + 1e-9), len(self._quiet) - 1)
        return Readings(
            at_s=at_s,
            signals={name: self._column(name, place, at_s, len(fleet)) for name in wanted},
            why=lambda name, row: self._why(name, row, place, at_s),
        )

    def recorded(self, times_s: Floats) -> dict[str, Floats]:
        """The trace's values at these seconds from its beginning, for plots: NaN in gaps."""
        places = np.minimum((times_s / self._step_s + 1e-9).astype(np.int64), len(self._quiet) - 1)
        return {name: values[places] for name, values in self._values.items()}

    async def backfill(self, fleet: Fleet, wanted: Mapping[str, Sequence[int]], times_s: Sequence[float]) -> Backfill:
        return Backfill()  # a trace has no past before its start

    def _column(self, name: str, place: int, at_s: float, rows: int) -> SignalColumn:
        age_s = self._age_s(name, place, at_s)
        moment_age_s = at_s - self._start_s - place * self._step_s
        idle = name in self._values and (name in _WORK or (name in _OF_REQUESTS and self._is_gap(name, place)))
        if idle and self._quiet[place] and moment_age_s <= self._stale_s.min():
            value = 0.0 if name in _WORK else np.nan
            return SignalColumn(
                values=np.full(rows, value), age_s=np.full(rows, moment_age_s), state=np.full(rows, IDLE, dtype=np.int8)
            )
        stale = age_s > self._stale_s
        value = self._values[name][self._newest[name][place]] if np.isfinite(age_s) else np.nan
        return SignalColumn(
            values=np.where(stale, np.nan, value),
            age_s=np.full(rows, age_s),
            state=np.where(stale, UNKNOWN, KNOWN).astype(np.int8),
        )

    def _is_gap(self, name: str, place: int) -> bool:
        return bool(np.isnan(self._values[name][place]))

    def _age_s(self, name: str, place: int, at_s: float) -> float:
        newest = self._newest[name][place] if name in self._newest else -1
        return float("inf") if newest < 0 else at_s - self._start_s - newest * self._step_s

    def _why(self, name: str, row: int, place: int, at_s: float) -> str:
        if name not in self._values:
            return f"the trace holds no {name}, only {', '.join(self._values)}"
        age_s = self._age_s(name, place, at_s)
        if age_s <= self._stale_s[row]:
            return ""
        return "not recorded yet" if age_s == float("inf") else f"last recorded {age_s:.0f} s ago"


def _newest_known(values: Floats) -> np.ndarray[Any, np.dtype[np.int64]]:
    """For each place the last one up to it that holds a value; -1 before the first."""
    places = np.where(np.isnan(values), -1, np.arange(len(values)))
    found: np.ndarray[Any, np.dtype[np.int64]] = np.maximum.accumulate(places)
    return found
