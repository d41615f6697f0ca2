"""What a report shows of one run: its curves, thinned, and its worst ten minutes in full. Plain data that travels between processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from autoscaler.core.model import Floats, Ints
from replay.report.room import DETAIL_BUCKETS, Room
from replay.report.series import Column, bucket_times, short, thinned
from replay.report.words import SPAN_S, Said, WorstWords
from replay.report.worst import Span, worst_spans
from replay.run import Result

_AROUND_S: Final = 600
"""The worst ten minutes are drawn with what was before and after."""


def pictures(result: Result, words: WorstWords | None, room: Room) -> list[dict[str, Any]]:
    """One picture a service; of many services those that kept their promise worst, in the manifest's order."""
    specs, scores = result.world.specs, result.score["services"]
    margins = [scores[one.key]["attained_ratio"] - one.objective.promised_ratio for one in specs]
    shown = sorted(sorted(range(len(specs)), key=lambda row: (margins[row], row))[: room.services])
    return [picture(_course(result, row, words), room.buckets) for row in shown]


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """One service of one run, as far as a picture needs it. columns: by name, (ticks,). late_by_tick (ticks,): requests that came then
    and waited too long. from_tick: the first after the warm-up. said(first, last): what the policy said between these ticks."""

    service: str
    capacity_per_s: float
    allowed_s: float
    judged: str
    signal: str
    tick_s: int
    from_tick: int
    columns: Mapping[str, Column]
    late_by_tick: Floats
    said: Callable[[int, int], Sequence[Said]]


def _course(result: Result, row: int, words: WorstWords | None) -> Course:
    world = result.world
    plant, spec = world.plant, world.specs[row]
    late, longest = plant.waits_by_tick(row)
    return Course(
        service=spec.key,
        capacity_per_s=spec.capacity.per_s,
        allowed_s=plant.waits[row].allowed_s,
        judged=plant.waits[row].signal,
        signal=spec.objective.signal,
        tick_s=plant.settings.tick_s,
        from_tick=-(-plant.settings.warmup_s // plant.settings.tick_s),
        columns=_columns(result, row, longest),
        late_by_tick=late,
        said=lambda first, last: [] if words is None else words.between(row, first, last),
    )


def picture(course: Course, buckets: int) -> dict[str, Any]:
    """Of a size that depends on the buckets alone, however long the run was."""
    columns, tick_s = course.columns, course.tick_s
    times = np.arange(len(columns["ready"]), dtype=np.float64) * tick_s
    curves = {name: columns[name] for name in ("ready", "paid", "nodes", "queue", "wait")}
    spans = worst_spans(course.late_by_tick, max(SPAN_S // tick_s, 1), course.from_tick)
    return {
        "service": course.service,
        "capacity_per_s": course.capacity_per_s if course.capacity_per_s == course.capacity_per_s else None,
        "allowed_s": course.allowed_s,
        "judged": course.judged,
        "signal": course.signal,
        "tick_s": tick_s,
        "times_s": [round(value) for value in bucket_times(times, buckets).tolist()],
        "demand": short(thinned(columns["demand"], buckets)),
        "curves": {name: short(thinned(values, buckets)) for name, values in curves.items()},
        "worst": [_worst(course, span, min(buckets, DETAIL_BUCKETS) if number == 0 else 0) for number, span in enumerate(spans)],
    }


def _columns(result: Result, row: int, longest_by_tick: Ints) -> dict[str, Any]:
    """By name, (ticks,). paid: replicas that are starting, ready or draining. wait: the longest of those that came in the tick."""
    plant, ledger = result.world.plant, result.ledger
    tick_s, ticks = plant.settings.tick_s, ledger.ticks
    edges = np.arange(0, plant.end_s, tick_s)
    demand: Floats = np.add.reduceat(plant.demand[row], edges) / np.diff(np.append(edges, plant.end_s))
    ready = ledger.column("ready", row)
    return {
        "demand": demand[:ticks],
        "ready": ready,
        "desired": ledger.column("desired", row),
        "paid": ready + ledger.column("starting", row) + ledger.column("draining", row),
        "nodes": ledger.column("nodes", row),
        "queue": plant.queue_by_tick[row][:ticks],
        "wait": longest_by_tick[:ticks],
    }


def _worst(course: Course, span: Span, detail_buckets: int) -> dict[str, Any]:
    columns, tick_s = course.columns, course.tick_s
    part = slice(span.first, span.last)
    demand = float(np.max(columns["demand"][part]))
    found: dict[str, Any] = {
        "from_s": span.first * tick_s,
        "to_s": span.last * tick_s,
        "late": round(span.late, 1),
        "demand": round(demand, 2),
        "needed": int(np.ceil(demand / course.capacity_per_s - 1e-9)) if course.capacity_per_s > 0 else None,
        "queue": round(float(np.max(columns["queue"][part])), 1),
        "wait": int(np.max(columns["wait"][part])),
        "ready": [int(np.min(columns["ready"][part])), int(np.max(columns["ready"][part]))],
        "desired": [int(np.min(columns["desired"][part])), int(np.max(columns["desired"][part]))],
        "said": [[said.tick * tick_s, said.words] for said in course.said(span.first, span.last)],
    }
    if detail_buckets:
        around = _AROUND_S // tick_s
        first, last = max(span.first - around, 0), min(span.last + around, len(columns["ready"]))
        times = np.arange(first, last, dtype=np.float64) * tick_s
        found["detail"] = {
            "times_s": [round(value) for value in bucket_times(times, detail_buckets).tolist()],
            **{
                name: short(thinned(columns[name][first:last], detail_buckets))
                for name in ("demand", "ready", "desired", "queue")
            },
        }
    return found
