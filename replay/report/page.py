"""Writes report.html: what it cost, what was promised and kept, where it went wrong, and the plots to see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson

from autoscaler.core.model import Floats, ScalingSpec
from replay.cuts import cut_words, told
from replay.plant.pool_capacity import differs_by_pool
from replay.report.open_loop import open_loop_service
from replay.report.series import bucket_times, short, thinned
from replay.report.worst import worst_spans
from replay.run import Result

_BUCKETS: Final = 700
_MOST_SERVICES: Final = 12
_SPAN_S: Final = 600
MOST_CUTS: Final = 50


def write_report(result: Result, path: Path, records: Path | None) -> None:
    """records: the run's records.jsonl, for the policy's words at the worst moments."""
    path.write_text(report(result, records), encoding="utf-8")


def report(result: Result, records: Path | None) -> str:
    """The page's text."""
    score = result.score
    specs = result.world.specs
    open_loop = bool(score.get("open_loop"))
    rows = list(range(len(specs)))
    shown = (rows if open_loop else sorted(rows, key=lambda row: _margin(score["services"][specs[row].key])))[:_MOST_SERVICES]
    buckets = _BUCKETS if len(shown) == 1 else max(_BUCKETS // len(shown), 150)
    data = {
        "score": {key: value for key, value in score.items() if key not in ("services", "wall_s", "schema")},
        "start_s": result.world.start_s,
        "warmup_s": score["warmup_s"],
        "services": [
            open_loop_service(result, row, buckets, partial(_words_at, result, row, records))
            if open_loop
            else _service(result, row, buckets, records)
            for row in shown
        ],
        "others": len(specs) - len(shown),
        "cuts": cut_words(told(score["services"])[:MOST_CUTS]),
    }
    vendor = files("autoscaler") / "dashboard" / "static" / "vendor"
    page = (files("replay.report") / "template.html").read_text("utf-8")
    parts = {
        "@@TITLE@@": f"{score['policy']} on {score['trace']}".replace("<", "&lt;"),
        "/*@@UPLOT_CSS@@*/": (vendor / "uPlot.min.css").read_text("utf-8"),
        "/*@@UPLOT_JS@@*/": (vendor / "uPlot.iife.min.js").read_text("utf-8"),
        # "<" never stands in the page's JSON, so no text in it can end the script.
        '"@@DATA@@"': orjson.dumps(data).decode().replace("<", "\\u003c"),
    }
    for place, text in parts.items():
        page = page.replace(place, text)
    return page


def _margin(score: Mapping[str, Any]) -> float:
    return float(score["attained_ratio"] - score["promised_ratio"])


def _service(result: Result, row: int, buckets: int, records: Path | None) -> dict[str, Any]:
    world, ledger = result.world, result.ledger
    plant, spec = world.plant, world.specs[row]
    tick_s, ticks = plant.settings.tick_s, ledger.ticks
    times: Floats = np.arange(ticks, dtype=np.float64) * tick_s
    edges = np.arange(0, plant.end_s, tick_s)
    demand = np.add.reduceat(plant.demand[row], edges) / np.diff(np.append(edges, plant.end_s))
    ready = ledger.column("ready", row)
    late, longest = plant.waits_by_tick(row)
    alive = ready + ledger.column("starting", row) + ledger.column("draining", row)
    columns = {
        "demand": demand,
        "capacity": ready * spec.capacity.per_s,
        "desired": ledger.column("desired", row),
        "ready": ready,
        "alive": alive,
        "nodes": ledger.column("nodes", row),
        "queue": plant.queue_by_tick[row],
        "wait": longest,
    }
    return {
        "key": spec.key,
        "score": {k: v for k, v in result.score["services"][spec.key].items() if k != "wall_s"},
        "allowed_s": plant.waits[row].allowed_s,
        "judged": plant.waits[row].signal,
        "signal": spec.objective.signal,
        "capacity_words": "are reckoned to do (some pools' do more)" if differs_by_pool(spec) else "can do",
        "times_s": short_times(bucket_times(times, buckets)),
        "columns": {name: short(thinned(values[:ticks], buckets)) for name, values in columns.items()},
        "worst": _worst(result, row, spec, columns, late, records),
    }


def short_times(times_s: Any) -> list[int]:
    return [int(value) for value in times_s.tolist()]


def _worst(
    result: Result, row: int, spec: ScalingSpec, columns: Mapping[str, Any], late: Floats, records: Path | None
) -> list[dict[str, Any]]:
    plant = result.world.plant
    tick_s = plant.settings.tick_s
    from_tick = -(-plant.settings.warmup_s // tick_s)
    spans = worst_spans(late, max(_SPAN_S // tick_s, 1), from_tick)
    moments = sorted({tick for span in spans for tick in (span.first, span.peak)})
    words = _reasons(result, row, moments, records)
    found = []
    for span in spans:
        part = slice(span.first, span.last)
        found.append(
            {
                "from_s": span.first * tick_s,
                "to_s": span.last * tick_s,
                "at": datetime.fromtimestamp(result.world.start_s + span.first * tick_s, UTC).strftime("%a %d %b, %H:%M:%S UTC"),
                "late": round(span.late, 1),
                "demand": round(float(np.max(columns["demand"][part])), 2),
                "queue": round(float(np.max(columns["queue"][part])), 1),
                "wait": int(np.max(columns["wait"][part])),
                "ready": [int(np.min(columns["ready"][part])), int(np.max(columns["ready"][part]))],
                "desired": [int(np.min(columns["desired"][part])), int(np.max(columns["desired"][part]))],
                "needed": int(np.ceil(float(np.max(columns["demand"][part])) / spec.capacity.per_s)),
                "begin": words.get(span.first, ""),
                "peak": words.get(span.peak, ""),
            }
        )
    return found


def _words_at(result: Result, row: int, records: Path | None, ticks: Sequence[int]) -> dict[int, str]:
    return _reasons(result, row, ticks, records)


def _reasons(result: Result, row: int, ticks: Sequence[int], records: Path | None) -> dict[int, str]:
    """The policy's reason and the limits, by tick, read back from the records (words are made only for those who ask)."""
    if records is None or not result.offsets:
        return {}
    words = {}
    with records.open("rb") as file:
        for tick in ticks:
            file.seek(result.offsets[tick])
            record = orjson.loads(file.readline())
            limits = "".join(f"; {limit['name']}: {limit['why']}" for limit in record["limits"][row])
            words[tick] = record["reasons"][row] + limits
    return words
