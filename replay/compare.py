"""Policies × traces: every policy on every trace, in parallel, with the same outcome for any number of processes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Any, Final

from autoscaler import spec
from autoscaler.core.model import PolicyRef
from replay.clairvoyant import alike_rows, figures, optima
from replay.open_loop import run_open_loop
from replay.optimum.solve import Optimum
from replay.parallel import in_order
from replay.report.beside import curve, put_beside
from replay.report.open_loop import open_loop_pictures
from replay.report.pictures import pictures
from replay.report.room import Room
from replay.report.words import WorstWords
from replay.run import Result, run_replay
from replay.scenario import Scenario, start_unix_s
from replay.traces.files import trace_name
from replay.traces.registry import read_any, read_singly
from replay.traces.requests import RequestLog
from replay.traces.series import CountSeries
from replay.traces.signal_series import SignalSeries
from replay.traces.uses import TraceUse
from replay.world import World

SCHEMA: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceSetting:
    """A trace, and the scenario with the trace's own settings. label: what scores call it, different for each trace of a comparison."""

    path: Path
    label: str
    scenario: Scenario


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One policy on one trace: its score, and what a report shows of it (empty where no report is wanted). warnings: as a Result's."""

    score: dict[str, Any]
    start_s: float
    pictures: Sequence[dict[str, Any]] = ()
    warnings: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """rows: by trace, then by policy, both in the order they were given."""

    rows: Sequence[Row]
    traces: Sequence[str]
    optima: Mapping[str, Sequence[dict[str, Any]]] = field(default_factory=dict)
    """By trace: the clairvoyant's replicas of each service, for the report, where they were asked for."""

    @property
    def scores(self) -> list[dict[str, Any]]:
        return [row.score for row in self.rows]

    @property
    def warnings(self) -> list[str]:
        """Each once, in the order of the rows."""
        return list(dict.fromkeys(text for row in self.rows for text in row.warnings))

    @property
    def open_loop(self) -> list[str]:
        """The traces without a demand: what policies decide is told there, and nothing of requests."""
        return list(dict.fromkeys(row.score["trace"] for row in self.rows if row.score.get("open_loop")))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """What one process does. optimum_rows: the clairvoyant of these services, which are alike, instead of a policy."""

    manifests: tuple[spec.Manifest, ...]
    trace: TraceSetting
    policy: PolicyRef | None
    room: Room | None
    optimum_rows: tuple[int, ...] = ()


def labels(uses: Sequence[TraceUse]) -> list[str]:
    """What each trace is called: its name; with its settings, its path or its number where names are the same."""
    found = [trace_name(use.path) for use in uses]
    settings = [",".join(f"{key}={value}" for key, value in use.settings.items()) for use in uses]
    longer = (
        [f"{name}:{given}" if given else name for name, given in zip(found, settings, strict=True)],
        [f"{use.path}:{given}" if given else str(use.path) for use, given in zip(uses, settings, strict=True)],
    )
    for names in longer:
        many = Counter(found)
        found = [other if many[name] > 1 else name for name, other in zip(found, names, strict=True)]
    many, number = Counter(found), count(1)
    return [f"{name} ({next(number)})" if many[name] > 1 else name for name in found]


def compare(
    manifests: Sequence[spec.Manifest],
    traces: Sequence[TraceSetting],
    policies: Sequence[PolicyRef | None],
    *,
    jobs: int = 1,
    room: Room | None = None,
    optimum: bool = False,
    progress: Callable[[float], None] | None = None,
) -> Comparison:
    """Runs every policy (None: the manifest's own) on every trace; one of signals without a demand drives them open-loop, and has no
    optimum. room: of the report, None where none is wanted.

    Raises AutoscalerError as ``run_replay`` does.
    """
    given = tuple(manifests)
    work = [_Job(manifests=given, trace=trace, policy=policy, room=room) for trace in traces for policy in policies]
    # Each trace's optima once, whatever the number of policies.
    clairvoyant = [
        _Job(manifests=given, trace=trace, policy=None, room=None, optimum_rows=tuple(rows))
        for trace in (traces if optimum else ())
        for rows in alike_rows(given, trace.scenario)
    ]
    # The optimum takes longest: first, so that it does not end alone.
    made = list(in_order(_work, [*clairvoyant, *work], jobs, done=progress))
    found: dict[str, dict[str, Optimum]] = {trace.label: {} for trace in traces}
    for job, ones in zip(clairvoyant, made, strict=False):
        found[job.trace.label] |= {one.key: one for one in ones}
    rows = [
        Row(
            score=_with_optimum(one["score"], found[job.trace.label]),
            start_s=one["start_s"],
            pictures=one["pictures"],
            warnings=one["warnings"],
        )
        for job, one in zip(work, made[len(clairvoyant) :], strict=True)
    ]
    if not (optimum and room):
        return Comparison(rows=rows, traces=[trace.label for trace in traces])
    for row in rows:
        if of_trace := found[row.score["trace"]]:
            put_beside(row.pictures, of_trace)
    drawn = {(row.score["trace"], picture["service"]) for row in rows for picture in row.pictures}
    curves = {
        label: [curve(one, room.buckets) for one in of.values() if (label, one.key) in drawn] for label, of in found.items()
    }
    return Comparison(rows=rows, traces=[trace.label for trace in traces], optima=curves)


def _work(job: _Job) -> Any:
    if job.optimum_rows:
        counts = _trace(job.trace.path)
        # Of a demand that was not recorded there is no optimum.
        return optima(job.manifests, job.trace.scenario, counts, rows=job.optimum_rows) if isinstance(counts, CountSeries) else []
    singly = job.trace.scenario.plant == "requests"
    trace = _requests(job.trace.path) if singly else _trace(job.trace.path)
    if isinstance(trace, SignalSeries):
        result = run_open_loop(job.manifests, job.trace.scenario, trace, policy=job.policy)
        return _made(job, result, open_loop_pictures(result, job.room) if job.room else [])
    watcher: list[WorstWords] = []

    def watch(world: World) -> WorstWords:
        watcher.append(WorstWords(world))
        return watcher[0]

    result = run_replay(job.manifests, job.trace.scenario, trace, policy=job.policy, watch=watch if job.room else None)
    return _made(job, result, pictures(result, watcher[0], job.room) if job.room else [])


def _made(job: _Job, result: Result, drawn: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        "score": {**result.score, "trace": job.trace.label},
        "start_s": start_unix_s(job.trace.scenario),
        "warnings": list(result.warnings),
        "pictures": drawn,
    }


@lru_cache(maxsize=1)
def _trace(path: Path) -> CountSeries | SignalSeries:
    """Jobs come trace by trace, so a process reads a trace about once."""
    return read_any(path)


@lru_cache(maxsize=1)
def _requests(path: Path) -> CountSeries | RequestLog | SignalSeries:
    return read_singly(path)


def _with_optimum(score: dict[str, Any], found: Mapping[str, Optimum]) -> dict[str, Any]:
    """The score with the optimum's figures, of all services and of each."""
    if not found:
        return score
    each = {key: _one_with_optimum(one, [found[key]]) for key, one in score["services"].items()}
    return {**_one_with_optimum(score, list(found.values())), "services": each}


def _one_with_optimum(score: dict[str, Any], found: Sequence[Optimum]) -> dict[str, Any]:
    optimum = figures(found)
    hours, bound = optimum["replica_hours"], optimum["lower_bound_node_slot_hours"]
    return {
        **score,
        "optimum": optimum,
        "cost_ratio": round(score["replica_hours"] / hours, 6) if hours else None,
        "node_bound_ratio": round(score["node_slot_hours"] / bound, 6) if bound else None,
    }
