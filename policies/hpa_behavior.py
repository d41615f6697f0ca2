"""An HPA's behavior and the state it lives on: stabilization windows, scaling policies, its own recommendations and scale events.

Source: kubernetes pkg/controller/podautoscaler/horizontal.go (1.36): reconcileAutoscaler, normalizeDesiredReplicas (without
spec.behavior), normalizeDesiredReplicasWithBehaviors. The HPA keeps its state in memory; so does this, a row a service.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from autoscaler.core.behavior import rate_bound
from autoscaler.core.columns import floats, number, plain, plain_number, rearranged
from autoscaler.core.history import History
from autoscaler.core.model import Bools, Floats, Ints, Observation, ScalingRules
from autoscaler.core.policy import Saved
from autoscaler.core.rows import some
from autoscaler.core.seen import any_unknown

LEGACY_WINDOW_S = 300.0
LEGACY_FACTOR, LEGACY_LEAST = 2.0, 4.0
"""Without spec.behavior a count may grow to twice the current one, or to 4."""


@dataclass(frozen=True, slots=True)
class Rules:
    """One HPA's behavior; without it (legacy) `up` is not looked at and `down` holds only the window."""

    up: ScalingRules
    down: ScalingRules
    legacy: bool = False


class Behavior:
    """n HPAs. What a count becomes is ``limited``; ``remember`` lets it into the state, once a tick."""

    def __init__(self, rules: Sequence[Rules]) -> None:
        n = len(rules)
        self._wishes: History | None = None
        self._changes: History | None = None
        self._interval_s = 0.0
        self._last_at_s = float("nan")
        self._current: Floats = np.full(n, np.nan)
        """The count at the last tick, NaN before a service's first one."""
        self._desired: Floats = np.full(n, np.nan)
        self._met_s: Floats = np.full(n, np.nan)
        self._met: Floats = np.full(n, np.nan)
        """When each HPA first saw its target, and the count then: it enters the windows as if it had been wished."""
        self._last_met_s = float("inf")
        self._counted: Ints | None = None
        self._as_floats: Floats = self._current
        self._bounded: tuple[Ints, Ints, Ints] | None = None
        self._outside: Bools | None = None
        self._take(rules)

    def _take(self, rules: Sequence[Rules]) -> None:
        self._n = len(rules)
        legacy: Bools = np.array([one.legacy for one in rules], dtype=np.bool_)
        self._legacy: Bools | None = legacy if legacy.any() else None
        self._up = _grouped(rules, lambda one: one.up)
        self._down = _grouped(rules, lambda one: one.down)
        self._up_windows = _windows(rules, lambda one: 0.0 if one.legacy else one.up.stabilization_s)
        self._down_windows = _windows(rules, lambda one: one.down.stabilization_s)
        self._longest_s = max([s for s, _ in (*self._up_windows, *self._down_windows)], default=0.0)
        periods = [p.period_s for one in rules if not one.legacy for side in (one.up, one.down) for p in side.policies]
        self._period_s = max(periods, default=0.0)

    # ------------------------------------------------------------ what becomes of a wish

    def limited(self, observation: Observation, wish: Floats, outside: Bools | None) -> Floats:
        """The count that the HPA would set, (n,); NaN where it computes none. outside: rows out of their bounds."""
        current, at_s = self._counts(observation.current), observation.at_s
        low, high = observation.min_replicas, observation.max_replicas
        after: Floats = wish
        if self._legacy is not None or some(wish != current):
            after = self._stabilized(at_s, current, wish)
            if outside is None and not some(after != current):
                return after
            # Bounds beat rates: a scale-up stops at the maximum, a scale-down at the minimum.
            grows = after > current
            if some(grows):
                bound = self._bound(observation, self._up, up=True)
                after = np.where(grows, np.minimum(after, np.minimum(bound, high)), after)
            shrinks = after < current
            if some(shrinks):
                bound = self._bound(observation, self._down, up=False)
                after = np.where(shrinks, np.maximum(after, np.maximum(bound, low)), after)
            if any_unknown(wish):
                after = np.where(np.isnan(wish), np.nan, after)
        if outside is not None:
            # Out of its bounds a count is corrected at once, and the metric isn't looked at. Set to 0 by somebody, it stays there.
            asleep = (current == 0) & (low > 0)
            after = np.where(outside, np.where(asleep, 0.0, np.minimum(np.maximum(current, low), high)), after)
        return after

    def outside(self, observation: Observation) -> Bools | None:
        """Rows whose count lies outside its bounds, so that no metric is looked at; None: none. Looked for when counts or bounds are new."""
        current, low, high = bounded = (observation.current, observation.min_replicas, observation.max_replicas)
        known = self._bounded
        if known is None or known[0] is not current or known[1] is not low or known[2] is not high:
            outside: Bools = (current > high) | (current < low)
            self._bounded, self._outside = bounded, outside if some(outside) else None
        return self._outside

    def _counts(self, current: Ints) -> Floats:
        """The counts as float64, made anew when they changed."""
        if current is not self._counted:
            self._counted, self._as_floats = current, current.astype(np.float64)
        return self._as_floats

    def _stabilized(self, at_s: float, current: Floats, wish: Floats) -> Floats:
        lowest = self._extreme(at_s, current, wish, self._up_windows, np.fmin)
        highest = self._extreme(at_s, current, wish, self._down_windows, np.fmax)
        stable: Floats = np.minimum(np.maximum(current, lowest), highest)
        # The HPA without a behavior takes the highest of the window, whatever the current count is.
        return stable if self._legacy is None else np.where(self._legacy, highest, stable)

    def _extreme(
        self, at_s: float, current: Floats, wish: Floats, windows: Sequence[tuple[float, Ints | None]], pick: Any
    ) -> Floats:
        """The wish or what it was within the window, whichever `pick` picks. A service's first wish of all is its count."""
        result = wish
        for span_s, rows in windows:
            found: Floats = wish
            past = None if self._wishes is None else self._wishes.since(at_s - span_s)
            if past is not None and past.shape[1]:
                found = pick(pick.reduce(past, 1), wish)
            if at_s - self._last_met_s < self._longest_s:
                met = np.where(np.isnan(self._met_s), current, np.where(self._met_s > at_s - span_s, self._met, np.nan))
                found = np.where(np.isnan(wish), np.nan, pick(found, met))
            if rows is None:
                return found
            result = result.copy() if result is wish else result
            result[rows] = found[rows]
        return result

    def _bound(self, observation: Observation, groups: Sequence[tuple[ScalingRules, Ints | None]], *, up: bool) -> Floats:
        current = self._counts(observation.current)
        if len(groups) == 1 and self._legacy is None:
            limit = rate_bound(current, partial(self._changed_since, observation.at_s, slice(None)), groups[0][0], up=up)
            return np.full(self._n, np.inf if up else -np.inf) if limit is None else limit
        bound = np.full(self._n, np.inf if up else -np.inf)
        for rules, rows in groups:
            take: Any = slice(None) if rows is None else rows
            limit = rate_bound(current[take], partial(self._changed_since, observation.at_s, take), rules, up=up)
            if limit is not None:
                bound[take] = limit
        if self._legacy is not None:
            free = np.maximum(LEGACY_FACTOR * current, LEGACY_LEAST) if up else np.full(self._n, -np.inf)
            bound = np.where(self._legacy, free, bound)
        return bound

    def _changed_since(self, at_s: float, take: Any, period_s: float) -> Floats | float:
        # The last tick's own change lies a whole interval back: the HPA's syncs are never closer than its period, so it is out.
        if self._changes is None or period_s <= self._interval_s:
            return 0.0
        added: Floats = np.nansum(self._changes.since(at_s - period_s)[take], axis=1)
        return added

    # ------------------------------------------------------------ the state

    def note_changes(self, observation: Observation) -> None:
        """Before a tick's wishes: what became of the last ones. Only changes that the HPA asked for are scale events of its own."""
        if self._interval_s != observation.interval_s:
            self._resize(observation.interval_s)
        if self._changes is not None and self._last_at_s == self._last_at_s:
            moved = observation.current - self._current
            own = moved * (self._desired - self._current) > 0
            self._changes.push(self._last_at_s, np.where(own, moved, 0.0))

    def remember(self, observation: Observation, wish: Floats, desired: Floats, outside: Bools | None) -> None:
        """Lets a tick's wishes and counts into the state."""
        current = self._counts(observation.current)
        if self._last_met_s == np.inf:
            new = np.isnan(self._met_s)
            self._met_s, self._met = np.where(new, observation.at_s, self._met_s), np.where(new, current, self._met)
            self._last_met_s = float(self._met_s.max(initial=-np.inf))
        if self._wishes is not None:
            self._wishes.push(observation.at_s, wish if outside is None else np.where(outside, np.nan, wish))
        self._current = current
        self._desired = desired
        self._last_at_s = observation.at_s

    def _resize(self, interval_s: float) -> None:
        self._interval_s = interval_s
        every = np.arange(self._n)
        self._wishes = self._history(self._wishes, every, self._longest_s)
        self._changes = self._history(self._changes, every, self._period_s if self._period_s > interval_s else 0.0)

    def _history(self, old: History | None, rows: Ints, span_s: float) -> History | None:
        """The rows of the old one, long enough for `span_s` (0: none is needed)."""
        if span_s <= 0:
            return None
        length = int(np.ceil(span_s / self._interval_s)) + 2
        return History(len(rows), length) if old is None else old.resized(rows, length)

    def rearrange(self, rows: Ints, rules: Sequence[Rules]) -> None:
        self._current, self._desired = rearranged(self._current, rows), rearranged(self._desired, rows)
        self._met_s, self._met = rearranged(self._met_s, rows), rearranged(self._met, rows)
        if (rows < 0).any():
            self._last_met_s = float("inf")
        self._take(rules)
        if self._interval_s:
            self._wishes = self._history(self._wishes, rows, self._longest_s)
            self._changes = self._history(self._changes, rows, self._period_s if self._period_s > self._interval_s else 0.0)

    def shift(self, by_s: float) -> None:
        """The clock was set by `by_s`."""
        for history in (self._wishes, self._changes):
            if history is not None:
                history.shift(by_s)
        self._last_at_s += by_s
        self._met_s = self._met_s + by_s
        self._last_met_s += by_s

    def _columns(self) -> dict[str, Floats]:
        return {"current": self._current, "desired": self._desired, "met_s": self._met_s, "met": self._met}

    def save(self) -> Saved:
        return {
            "interval_s": self._interval_s,
            "last_at_s": plain_number(self._last_at_s),
            **{name: plain(column) for name, column in self._columns().items()},
            "wishes": None if self._wishes is None else self._wishes.save(),
            "changes": None if self._changes is None else self._changes.save(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        if len(state["current"]) != self._n or not state["interval_s"]:
            return
        self._wishes, self._changes, self._counted = None, None, None
        self._resize(float(state["interval_s"]))
        self._last_at_s = number(state["last_at_s"])
        for name, column in self._columns().items():
            column[:] = floats(state[name])
        self._last_met_s = float("inf") if np.isnan(self._met_s).any() else float(self._met_s.max(initial=-np.inf))
        histories: tuple[History | None, ...] = (self._wishes, self._changes)
        for history, saved in zip(histories, (state["wishes"], state["changes"]), strict=True):
            if history is not None and saved is not None:
                history.load(saved)


def _grouped(rules: Sequence[Rules], of: Callable[[Rules], ScalingRules]) -> list[tuple[ScalingRules, Ints | None]]:
    """Rows that share one direction's rules; None: all of them."""
    groups: dict[ScalingRules, list[int]] = {}
    for row, one in enumerate(rules):
        groups.setdefault(of(one), []).append(row)
    if len(groups) == 1:
        return [(next(iter(groups)), None)]
    return [(one, np.array(rows, dtype=np.int64)) for one, rows in groups.items()]


def _windows(rules: Sequence[Rules], of: Callable[[Rules], float]) -> list[tuple[float, Ints | None]]:
    """Windows longer than 0 with their rows; None: all of them."""
    spans: dict[float, list[int]] = {}
    for row, one in enumerate(rules):
        spans.setdefault(of(one), []).append(row)
    if len(spans) == 1:
        (span_s,) = spans
        return [(span_s, None)] if span_s > 0 else []
    return [(span_s, np.array(rows, dtype=np.int64)) for span_s, rows in spans.items() if span_s > 0]
