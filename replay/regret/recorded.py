"""A live controller's records as columns by service: demand, counts, lead times, on the grid of its ticks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from autoscaler.core.model import Bools, Floats, Ints
from autoscaler.errors import AutoscalerError, UsageError
from autoscaler.record import SCHEMA, decode_column
from replay.verify import RecordsError, ends_cut, records_of

SURE: Final = 0.5
"""The confidence from which a learnt capacity is taken for what replicas did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedTick:
    """keys: the services, in the order of the tick's columns. lasts: False for a tick that another one follows at once, as a new
    leader's first does; time is counted by those that last."""

    keys: Sequence[str]
    interval_s: float
    record: dict[str, Any]
    lasts: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """ticks on a grid of interval_s from start_s on; (n, ticks) by service. demand_per_s: NaN where it was unknown or nothing was
    recorded. current: what the target was asked to have; alive: starting, ready and draining; both −1 where nothing was recorded.
    lead_time_s, node_lead_time_s (n,): medians. learnt_per_s (n,): what a replica did, the median of what the controller had learnt for sure
    enough, NaN where it was given. cut: files whose last line has no end, so that it was left out."""

    keys: Sequence[str]
    start_s: float
    interval_s: int
    demand_per_s: Floats
    current: Ints
    alive: Ints
    lead_time_s: Floats
    node_lead_time_s: Floats
    learnt_per_s: Floats
    cut: int = 0

    @property
    def ticks(self) -> int:
        return len(self.current[0])

    @property
    def missing(self) -> int:
        """Ticks at which nothing was recorded of any service."""
        return int(np.count_nonzero(self.current.max(axis=0) < 0))

    def known_ratio(self, row: int) -> float:
        """The share of the recorded ticks at which the demand was known."""
        there: Bools = self.current[row] >= 0
        return float(np.isfinite(self.demand_per_s[row, there]).mean()) if there.any() else 0.0


def recorded_ticks(files: Sequence[Path]) -> Iterator[RecordedTick]:
    """The ticks of the leading process in the order of time. Raises RecordsError, OutsideError."""
    before: RecordedTick | None = None
    for tick in _led(files):
        if before is not None:
            follows_s = tick.record["at_s"] - before.record["at_s"]
            yield replace(before, lasts=follows_s >= before.interval_s / 2)
        before = tick
    if before is not None:
        yield before


def _led(files: Sequence[Path]) -> Iterator[RecordedTick]:
    last_s = -np.inf
    for path in files:
        keys: list[str] = []
        interval_s = 0.0
        for line, record in records_of(path):
            try:
                if record["kind"] == "fleet":
                    keys = [f"{service['namespace']}/{service['name']}" for service in record["services"]]
                    interval_s = float(record["interval_s"])
                elif record["kind"] == "tick" and interval_s and record["leading"] and record["at_s"] > last_s:
                    if len(record["current"]) != len(keys):
                        raise ValueError(f"{len(record['current'])} columns for {len(keys)} services")
                    last_s = record["at_s"]
                    yield RecordedTick(keys=keys, interval_s=interval_s, record=record)
            except (KeyError, TypeError, ValueError, msgspec.ValidationError) as fault:
                if isinstance(fault, AutoscalerError):
                    raise
                raise RecordsError(f"{path}:{line}: is no record of schema {SCHEMA} ({type(fault).__name__}: {fault})") from fault


def _learnt_per_s(record: dict[str, Any], column: int) -> float:
    learnt = record.get("capacity")
    if learnt is None or (learnt["confidence"][column] or 0.0) < SURE:
        return float("nan")
    return float(learnt["per_s"][column])


def read_recorded(files: Sequence[Path], keys: Sequence[str]) -> Recorded:
    """What was recorded of these services. Raises UsageError where there is nothing of them."""
    found: list[tuple[float, list[tuple[int, float, int, int, float, float, float]]]] = []
    interval_s, met = 0.0, set()
    for tick in recorded_ticks(files):
        interval_s = interval_s or tick.interval_s
        record = tick.record
        demand = decode_column(record["signals"]["demand"]).values if "demand" in record["signals"] else None
        column_of = {key: column for column, key in enumerate(tick.keys)}
        rows = []
        for row, key in enumerate(keys):
            column = column_of.get(key)
            if column is None:
                continue
            met.add(key)
            alive = record["ready"][column] + record["starting"][column] + record["draining"][column]
            rows.append(
                (
                    row,
                    float("nan") if demand is None else float(demand[column]),
                    record["current"][column],
                    alive,
                    record["lead_time_s"][column],
                    record["node_lead_time_s"][column],
                    _learnt_per_s(record, column),
                )
            )
        found.append((record["at_s"], rows))
    absent = [key for key in keys if key not in met]
    if absent or not found:
        raise UsageError(f"the records hold nothing of {', '.join(absent) or 'any service'}")
    start_s, step_s = found[0][0], max(round(interval_s), 1)
    places = [round((at_s - start_s) / step_s) for at_s, _ in found]
    shape = len(keys), places[-1] + 1
    demand_per_s = np.full(shape, np.nan)
    current, alive_counts = np.full(shape, -1, dtype=np.int64), np.full(shape, -1, dtype=np.int64)
    leads: list[list[float]] = [[] for _ in keys]
    node_leads: list[list[float]] = [[] for _ in keys]
    learnt: list[list[float]] = [[] for _ in keys]
    for place, (_, rows) in zip(places, found, strict=True):
        for row, rate, count, alive, lead_s, node_lead_s, per_s in rows:
            demand_per_s[row, place], current[row, place], alive_counts[row, place] = rate, count, alive
            leads[row].append(lead_s)
            node_leads[row].append(node_lead_s)
            if per_s == per_s:
                learnt[row].append(per_s)
    return Recorded(
        keys=list(keys),
        start_s=start_s,
        interval_s=step_s,
        demand_per_s=demand_per_s,
        current=current,
        alive=alive_counts,
        lead_time_s=np.array([np.median(one) for one in leads]),
        node_lead_time_s=np.array([np.median(one) for one in node_leads]),
        learnt_per_s=np.array([np.median(one) if one else np.nan for one in learnt]),
        cut=sum(map(ends_cut, files)),
    )
