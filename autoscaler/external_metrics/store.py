"""What the controllers told, kept as they told it: columns over all objects, and an index of the objects by name.

A tick is taken in by keeping its columns; nothing is done by the object, so that ten thousand of them cost no more than a few lists.
Values are looked up when somebody asks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from autoscaler.external_metrics.values import Labels, Matches, Value
from autoscaler.ports import Clock
from autoscaler.published import NAME_LABEL, Column, Published, TickLine

NO_OBJECTS: Final[Mapping[str, int]] = {}


class Index:
    """The objects of one revision, by place and by name."""

    def __init__(self) -> None:
        self.objects: list[Published] = []
        self.places: dict[str, dict[str, int]] = {}
        self._labels: dict[int, Labels] = {}

    def add(self, part: Sequence[Published]) -> None:
        for one in part:
            self.places.setdefault(one.namespace, {})[one.name] = len(self.objects)
            self.objects.append(one)

    def labels(self, place: int) -> Labels:
        """Of all items of the object. The same mapping each time: nobody changes it."""
        found = self._labels.get(place)
        if found is None:
            one = self.objects[place]
            found = self._labels[place] = {**one.labels, NAME_LABEL: one.name}
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A column with the way from an object's place to the position in it (None: the same)."""

    column: Column
    positions: Mapping[int, int] | None

    @classmethod
    def of(cls, column: Column) -> Held:
        return cls(
            column=column,
            positions=None if column.rows is None else {place: position for position, place in enumerate(column.rows)},
        )

    def position(self, place: int) -> int | None:
        if self.positions is None:
            return place if place < len(self.column.values) else None
        return self.positions.get(place)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One tick as a whole. received_s: when its TickLine came, by the clock that never steps."""

    controller: str
    index: Index
    tick: TickLine
    received_s: float
    columns: Mapping[str, Sequence[Held]] = field(default_factory=dict)

    @classmethod
    def of(cls, controller: str, index: Index, tick: TickLine, received_s: float, columns: Sequence[Held]) -> Snapshot:
        by_metric: dict[str, list[Held]] = {}
        for held in columns:
            by_metric.setdefault(held.column.metric, []).append(held)
        return cls(controller=controller, index=index, tick=tick, received_s=received_s, columns=by_metric)


class Store:
    """The ``values.Values`` of a server: the last tick of whoever leads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._now: Snapshot | None = None

    def take(self, snapshot: Snapshot) -> bool:
        """Whether it is served from now on. A standby's decisions aren't: they are not acted on either. In the moment in which the lead
        passes on two may say that they lead; the later tick counts."""
        if not snapshot.tick.leading:
            return False
        held = self._now
        if held is not None and held.controller != snapshot.controller and self.age_s(held) < self.age_s(snapshot):
            return False
        self._now = snapshot
        return True

    def age_s(self, snapshot: Snapshot) -> float:
        """How long ago its tick was."""
        return snapshot.tick.age_s + max(self._clock.monotonic_s() - snapshot.received_s, 0.0)

    # ------------------------------------------------------------ values.Values

    def has_data(self) -> bool:
        return self._now is not None

    def namespaces(self) -> frozenset[str]:
        return frozenset() if self._now is None else frozenset(self._now.index.places)

    def objects(self, namespace: str) -> Sequence[str]:
        return [] if self._now is None else sorted(self._now.index.places.get(namespace, NO_OBJECTS))

    def metrics(self) -> int:
        if self._now is None:
            return 0
        return sum(len(held.column.values) for columns in self._now.columns.values() for held in columns)

    def oldest_s(self) -> Mapping[str, float]:
        """By metric, the age of the oldest value that is known; for own metrics."""
        now = self._now
        if now is None:
            return {}
        since_s = self.age_s(now)
        found: dict[str, float] = {}
        for metric, columns in now.columns.items():
            ages = (max((age for age in held.column.ages_s or () if age is not None), default=0.0) for held in columns)
            found[metric] = since_s + max(ages, default=0.0)
        return found

    def find(self, namespace: str, metric: str, matches: Matches, name: str | None) -> list[Value]:
        now = self._now
        columns = () if now is None else now.columns.get(metric, ())
        if now is None or not columns:
            return []
        places = now.index.places.get(namespace, NO_OBJECTS)
        wanted = sorted(places) if name is None else [name] if name in places else []
        since_s = self.age_s(now)
        return [value for one in wanted for value in _values(now, columns, places[one], since_s, matches)]


def _values(now: Snapshot, columns: Sequence[Held], place: int, since_s: float, matches: Matches) -> Iterator[Value]:
    one, labels = now.index.objects[place], now.index.labels(place)
    for held in columns:
        position = held.position(place)
        if position is None:
            continue
        column = held.column
        all_labels = {**labels, **column.labels} if column.labels else labels
        if not matches(all_labels):
            continue
        value = column.values[position]
        aged_s = (0.0 if column.ages_s is None else column.ages_s[position]) if value is not None else None
        yield Value(
            namespace=one.namespace,
            object=one.name,
            metric=column.metric,
            labels=all_labels,
            value=math.nan if value is None else value,
            at_s=0.0 if aged_s is None else now.tick.at_s - aged_s,
            age_s=math.inf if aged_s is None else since_s + aged_s,
            max_age_s=one.max_age_s,
            window_s=None if column.windows_s is None else column.windows_s[position],
            why="" if value is not None else column.why.get(position) or "it is not known",
        )
