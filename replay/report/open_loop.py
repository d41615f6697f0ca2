"""A service's part of report.html where the readings were only played back: what was recorded, what was decided, and when it grew the most.

What became of requests can't be told there, so nothing is promised, kept or late.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from autoscaler.core.model import Floats, ScalingSpec
from replay.open_loop import TraceMetrics
from replay.report.room import Room
from replay.report.series import bucket_times, short, thinned
from replay.report.worst import worst_spans
from replay.run import Result

_SPAN_S = 600

WordsAt = Callable[[Sequence[int]], dict[int, str]]
"""The policy's words by tick."""


def open_loop_service(result: Result, row: int, buckets: int, words_at: WordsAt) -> dict[str, Any]:
    """What the page shows of one service; `recorded` holds the trace's signals as decisions could see them."""
    world, ledger = result.world, result.ledger
    spec, tick_s = world.specs[row], world.plant.settings.tick_s
    assert isinstance(world.metrics, TraceMetrics)
    times: Floats = np.arange(ledger.ticks, dtype=np.float64) * tick_s
    recorded = world.metrics.recorded(times)
    ready, desired = ledger.column("ready", row), ledger.column("desired", row)
    columns = {
        "desired": desired,
        "ready": ready,
        "alive": ready + ledger.column("starting", row) + ledger.column("draining", row),
        "nodes": ledger.column("nodes", row),
    }
    return {
        "key": spec.key,
        "score": {k: v for k, v in result.score["services"][spec.key].items() if k != "wall_s"},
        "times_s": [int(value) for value in bucket_times(times, buckets).tolist()],
        "columns": {name: short(thinned(values, buckets)) for name, values in columns.items()},
        "recorded": {name: short(thinned(values, buckets)) for name, values in recorded.items()},
        "grown": _grown(result, spec, desired, recorded, words_at),
    }


def open_loop_pictures(result: Result, room: Room) -> list[dict[str, Any]]:
    """One picture a service for a comparison, as ``pictures`` makes them, without what an open loop can't tell."""
    world, ledger = result.world, result.ledger
    tick_s = world.plant.settings.tick_s
    times: Floats = np.arange(ledger.ticks, dtype=np.float64) * tick_s
    assert isinstance(world.metrics, TraceMetrics)
    recorded = {name: short(thinned(values, room.buckets)) for name, values in world.metrics.recorded(times).items()}
    found = []
    for row, spec in enumerate(world.specs[: room.services]):
        ready = ledger.column("ready", row)
        paid = ready + ledger.column("starting", row) + ledger.column("draining", row)
        curves = {"ready": ready, "paid": paid, "nodes": ledger.column("nodes", row)}
        found.append(
            {
                "service": spec.key,
                "tick_s": tick_s,
                "times_s": [round(value) for value in bucket_times(times, room.buckets).tolist()],
                "recorded": recorded,
                "curves": {name: short(thinned(values, room.buckets)) for name, values in curves.items()},
                "worst": [],
            }
        )
    return found


def _grown(
    result: Result, spec: ScalingSpec, desired: Any, recorded: dict[str, Floats], words_at: WordsAt
) -> list[dict[str, Any]]:
    """The ten minutes in which the count grew the most, the largest first."""
    plant = result.world.plant
    tick_s = plant.settings.tick_s
    grew = np.maximum(np.diff(desired, prepend=desired[:1]), 0).astype(np.float64)
    spans = worst_spans(grew, max(_SPAN_S // tick_s, 1), -(-plant.settings.warmup_s // tick_s))
    words = words_at(sorted({span.peak for span in spans}))
    found = []
    for span in spans:
        part = slice(span.first, span.last)
        seen = {name: _range(values[part]) for name, values in recorded.items()}
        found.append(
            {
                "from_s": span.first * tick_s,
                "to_s": span.last * tick_s,
                "at": datetime.fromtimestamp(result.world.start_s + span.first * tick_s, UTC).strftime("%a %d %b, %H:%M:%S UTC"),
                "grew": int(span.late),
                "desired": [int(np.min(desired[part])), int(np.max(desired[part]))],
                "recorded": seen,
                "said": words.get(span.peak, ""),
            }
        )
    return found


def _range(values: Floats) -> list[float | int | None]:
    known = values[~np.isnan(values)]
    return short(np.array([known.min(), known.max()])) if len(known) else []
