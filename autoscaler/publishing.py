"""From a tick to what is published of it: the lines of ``autoscaler.published``, made once for all who read them.

What is published is what was decided: ``desired-replicas`` is the planned count that ``autoscaler explain`` tells, also while it only holds
what is. Not published is what must not be followed: a count of mode Shadow (or of a whole controller in ``--shadow``), and one whose
target nobody sees.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import orjson

from autoscaler.core.model import UNSEEN, Fleet, Floats, Ints, SignalColumn
from autoscaler.core.signals import SignalState
from autoscaler.ports import Clock, Tick
from autoscaler.published import DESIRED, FORECAST, POLICY_LABEL, QUANTILE_LABEL, QUEUE_PER_REPLICA, SCHEMA
from autoscaler.waiting import News

MAX_AGE_S: Final = 60.0
INTERVALS_OLD: Final = 4
OBJECTS_A_LINE: Final = 500
_SHADOW: Final = "mode Shadow decides and shows, and publishes no count; mode Recommend does"
_ALL_SHADOW: Final = "the controller runs with --shadow: it decides and shows, and publishes no count"


class Publisher:
    """A ports.Reporter that keeps the last tick's lines. shadow: the controller's own."""

    def __init__(self, clock: Clock, *, shadow: bool = False) -> None:
        self.news = News()
        """Of each tick that can be told."""
        self.objects: tuple[bytes, ...] = ()
        """The lines of the fleet as it is; replaced when it changes, never changed."""
        self.columns: tuple[bytes, ...] = ()
        self._clock = clock
        self._shadow = shadow
        self._revision: int | None = None
        self._interval_s = 0.0
        self._head: dict[str, Any] = {}
        self._told_s = self._age_s = 0.0
        self._published: Mapping[str, Ints] = {}
        self._shadowed: Mapping[int, str] = {}

    async def report(self, tick: Tick) -> None:
        fleet = tick.fleet
        if fleet.revision != self._revision or tick.interval_s != self._interval_s:
            self._revision, self._interval_s = fleet.revision, tick.interval_s
            self.objects = tuple(_objects(fleet, tick.interval_s))
            self._published = _published(fleet)
            self._shadowed = _shadowed(fleet, self._shadow)
        self.columns = tuple(_line({"kind": "column", **column}) for column in self._columns(tick))
        self._head = {
            "kind": "tick",
            "number": tick.number,
            "revision": fleet.revision,
            "at_s": float(tick.decisions.at_s),
            "leading": tick.leading,
        }
        self._told_s = self._clock.monotonic_s()
        # A tick takes a part of the interval from looking to here. Bounded, as somebody may have set the clock meanwhile; by its own steps,
        # which are timed without that clock, it may have taken longer.
        since_s = min(max(self._clock.now_s() - float(tick.decisions.at_s), 0.0), tick.interval_s)
        self._age_s = max(since_s, sum(tick.timings_s.values()))
        self.news.tell()

    def tick_lines(self) -> Iterator[bytes]:
        """The tick that is the last one now; its age as of when the first line is taken, which may be later."""
        return self._lines(self._head, self.columns, self._told_s, self._age_s)

    def _lines(self, head: Mapping[str, Any], columns: tuple[bytes, ...], told_s: float, age_s: float) -> Iterator[bytes]:
        yield _line({**head, "age_s": age_s + max(self._clock.monotonic_s() - told_s, 0.0)})
        yield from columns
        yield _line({"kind": "end", "number": head["number"]})

    def _columns(self, tick: Tick) -> Iterator[dict[str, Any]]:
        fleet = tick.fleet
        unseen = _unseen(fleet)
        unpublished = {**self._shadowed, **unseen}
        counts = tick.plan.replicas.astype(np.float64)
        counts[list(unpublished)] = np.nan
        yield {"metric": DESIRED, "values": counts, "why": _texts(unpublished)}
        told = _told(tick, "queue", None)
        per_replica = told["values"] / np.maximum(fleet.ready, 1)
        per_replica[list(unseen)] = np.nan  # with none seen as ready it would be the whole queue, and many times too much
        yield {"metric": QUEUE_PER_REPLICA, **told, "values": per_replica, "why": {**told["why"], **_texts(unseen)}}
        for name, rows in self._published.items():
            yield {"metric": name, "rows": rows, **_told(tick, name, rows)}
        for policy, rows, forecast in tick.decisions.forecasts:
            for index, quantile in enumerate(forecast.quantiles.tolist()):
                values = np.ascontiguousarray(forecast.values[:, index, 0])
                yield {
                    "metric": FORECAST,
                    "rows": np.ascontiguousarray(rows),
                    "values": values,
                    "windows_s": [forecast.window_s] * len(values),
                    "labels": {QUANTILE_LABEL: f"{quantile:g}", POLICY_LABEL: policy},
                }


def head_line(controller: str) -> bytes:
    return _line({"kind": "head", "schema": SCHEMA, "controller": controller})


def _objects(fleet: Fleet, interval_s: float) -> Iterator[bytes]:
    usual_s = max(MAX_AGE_S, INTERVALS_OLD * interval_s)
    for first in range(0, max(len(fleet), 1), OBJECTS_A_LINE):
        part = [
            {
                "namespace": spec.namespace,
                "name": spec.name,
                "max_age_s": spec.publication.max_age_s or usual_s,
                "labels": dict(spec.publication.labels),
            }
            for spec in fleet.specs[first : first + OBJECTS_A_LINE]
        ]
        yield _line({"kind": "objects", "revision": fleet.revision, "first": first, "count": len(fleet), "objects": part})


def _published(fleet: Fleet) -> dict[str, Ints]:
    """Signal → the rows that publish it."""
    rows: dict[str, list[int]] = {}
    for row, spec in enumerate(fleet.specs):
        for name in spec.publication.signals:
            rows.setdefault(name, []).append(row)
    return {name: np.array(found, dtype=np.int64) for name, found in rows.items()}


def _shadowed(fleet: Fleet, shadow: bool) -> dict[int, str]:
    if shadow:
        return dict.fromkeys(range(len(fleet)), _ALL_SHADOW)
    return {row: _SHADOW for row, spec in enumerate(fleet.specs) if spec.mode == "Shadow"}


def _unseen(fleet: Fleet) -> dict[int, str]:
    """Rows whose target's count is not known and stands as 0."""
    return {row: why for row, why in fleet.hands_off_why.items() if why.partition(":")[0] in UNSEEN}


def _told(tick: Tick, name: str, rows: Ints | None) -> dict[str, Any]:
    """values, ages_s, windows_s and why of a signal, of all rows or of these."""
    chosen = np.arange(len(tick.fleet)) if rows is None else rows
    column = tick.readings.signals.get(name)
    if column is None:
        return {
            "values": np.full(len(chosen), np.nan),
            "why": dict.fromkeys(map(str, range(len(chosen))), f"{name} was not read"),
        }
    values = _known(column)[chosen]
    told: dict[str, Any] = {"values": values, "ages_s": column.age_s[chosen]}
    if column.span_s is not None:
        told["windows_s"] = column.span_s[chosen]
    told["why"] = {
        str(position): tick.readings.why(name, int(chosen[position])) for position in np.flatnonzero(np.isnan(values)).tolist()
    }
    return told


def _known(column: SignalColumn) -> Floats:
    """What is below zero can't be, and is not known either."""
    values = np.where(column.state == SignalState.UNKNOWN, np.nan, column.values)
    return np.where(np.isfinite(values) & (values >= 0.0), values, np.nan)


def _texts(words: Mapping[int, str]) -> dict[str, str]:
    return {str(row): text for row, text in words.items()}


def _line(document: dict[str, Any]) -> bytes:
    # NaN and infinities become null: a number that is none never leaves here.
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE)
