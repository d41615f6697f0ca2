"""What a report shows of one run: its curves, thinned, and its worst ten minutes in full. Plain data that travels between processes."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from autoscaler.core.model import Floats, ScalingSpec
from replay.report.series import bucket_times, short, thinned
from replay.report.words import SPAN_S, WorstWords
from replay.report.worst import Span, worst_spans
from replay.run import Result

MOST_SERVICES: Final = 8
_MOST_BUCKETS: Final = 700
_FEWEST_BUCKETS: Final = 40
_BYTES: Final = 1_100_000
"""What the curves of one page may take; a bucket of a run's curves takes about 40 bytes."""
_BYTES_A_BUCKET: Final = 40
_AROUND_S: Final = 600
"""The worst ten minutes are drawn with what was before and after."""


def buckets_for(pictures: int) -> int:
    """Into how many buckets curves are cut so that the page stays small with so many runs."""
    return int(np.clip(_BYTES // (_BYTES_A_BUCKET * max(pictures, 1)), _FEWEST_BUCKETS, _MOST_BUCKETS))


def pictures(result: Result, words: WorstWords | None, buckets: int) -> list[dict[str, Any]]:
    """One picture a service; of many services those that kept their promise worst, in the manifest's order."""
    specs, scores = result.world.specs, result.score["services"]
    margins = [scores[one.key]["attained_ratio"] - one.objective.promised_ratio for one in specs]
    shown = sorted(sorted(range(len(specs)), key=lambda row: (margins[row], row))[:MOST_SERVICES])
    return [_picture(result, row, words, buckets) for row in shown]


def _picture(result: Result, row: int, words: WorstWords | None, buckets: int) -> dict[str, Any]:
    world = result.world
    plant, spec = world.plant, world.specs[row]
    tick_s = plant.settings.tick_s
    columns = _columns(result, row)
    times = np.arange(result.ledger.ticks, dtype=np.float64) * tick_s
    curves = {name: columns[name] for name in ("ready", "paid", "nodes", "queue", "wait")}
    spans = worst_spans(plant.waits[row].late_by_tick, max(SPAN_S // tick_s, 1), -(-plant.settings.warmup_s // tick_s))
    return {
        "service": spec.key,
        "capacity_per_s": spec.capacity.per_s if spec.capacity.per_s == spec.capacity.per_s else None,
        "allowed_s": plant.waits[row].allowed_s,
        "judged": plant.waits[row].signal,
        "signal": spec.objective.signal,
        "tick_s": tick_s,
        "times_s": [round(value) for value in bucket_times(times, buckets).tolist()],
        "demand": short(thinned(columns["demand"], buckets)),
        "curves": {name: short(thinned(values, buckets)) for name, values in curves.items()},
        "worst": [_worst(row, spec, span, columns, words, tick_s, detail=number == 0) for number, span in enumerate(spans)],
    }


def _columns(result: Result, row: int) -> dict[str, Any]:
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
        "wait": plant.waits[row].longest_by_tick[:ticks],
    }


def _worst(
    row: int, spec: ScalingSpec, span: Span, columns: dict[str, Any], words: WorstWords | None, tick_s: int, *, detail: bool
) -> dict[str, Any]:
    part = slice(span.first, span.last)
    demand = float(np.max(columns["demand"][part]))
    found: dict[str, Any] = {
        "from_s": span.first * tick_s,
        "to_s": span.last * tick_s,
        "late": round(span.late, 1),
        "demand": round(demand, 2),
        "needed": int(np.ceil(demand / spec.capacity.per_s - 1e-9)) if spec.capacity.per_s > 0 else None,
        "queue": round(float(np.max(columns["queue"][part])), 1),
        "wait": int(np.max(columns["wait"][part])),
        "ready": [int(np.min(columns["ready"][part])), int(np.max(columns["ready"][part]))],
        "desired": [int(np.min(columns["desired"][part])), int(np.max(columns["desired"][part]))],
        "said": [] if words is None else [[said.tick * tick_s, said.words] for said in words.between(row, span.first, span.last)],
    }
    if detail:
        around = _AROUND_S // tick_s
        first, last = max(span.first - around, 0), min(span.last + around, len(columns["ready"]))
        step = max((last - first) // 240, 1)
        ticks = np.arange(first, last, step)
        found["detail"] = {
            "times_s": (ticks * tick_s).tolist(),
            **{name: short(columns[name][ticks].astype(np.float64)) for name in ("demand", "ready", "desired", "queue")},
        }
    return found
