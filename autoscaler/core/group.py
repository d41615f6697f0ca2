"""The services that name one policy, and the one policy object that serves them."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from autoscaler.core.history import History, HistoryRows
from autoscaler.core.model import (
    Bools,
    Fleet,
    Floats,
    Forecast,
    Ints,
    Observation,
    Readings,
    Recommendation,
    Signal,
    SignalColumn,
)
from autoscaler.core.policy import (
    LONGEST_TEXT,
    KeepsTimes,
    Policy,
    PolicyType,
    Remembers,
    TakesOver,
    complete_params,
    stack_params,
)
from autoscaler.core.rows import some
from autoscaler.core.seen import all_known
from autoscaler.core.signals import UNKNOWN
from autoscaler.core.table import Table
from autoscaler.core.trust import forecast_fault
from autoscaler.core.value import maker

_observation = maker(Observation)
_signal = maker(Signal)
_FLOAT64 = np.dtype(np.float64)
LARGEST = 1e9
"""No service has more replicas; it keeps nonsense from wrapping round when counts become whole numbers."""


@dataclass(slots=True)
class Merged:
    """The wishes of all groups, (n,) each: the highest count (NaN where none could tell) and the highest headroom win. reach: the highest of
    count and headroom together, NaN where none told both. partial: some needed signal is unknown. None: nobody has said anything yet.
    complete: every row has a wish.

    Columns may be a policy's own arrays: they are replaced, never written to.
    """

    recommended: Floats | None = None
    headroom: Floats | None = None
    reach: Floats | None = None
    partial: Bools | None = None
    complete: bool = False


class Group:
    """One policy's rows.

    rows (m,): fleet rows, one for each use of the policy (a service may use it twice with other parameters). faults: fleet rows whose
    parameters the policy refuses. `before` is the same policy's group of the last revision; what it learnt moves along.
    """

    def __init__(
        self,
        policy_type: PolicyType,
        table: Table,
        members: Sequence[tuple[int, Mapping[str, Any]]],
        seed: int,
        before: Group | None,
        moved: Ints,
    ) -> None:
        self.type = policy_type
        self.name = policy_type.name
        self.faults: dict[int, str] = {}
        rows: list[int] = []
        params: list[Mapping[str, Any]] = []
        for row, given in members:
            completed, faults = complete_params(policy_type, given)
            if faults:
                self.faults[row] = f"policy '{policy_type.name}': {'; '.join(faults)}"
            else:
                rows.append(row)
                params.append(completed)
        self.rows: Ints = np.array(rows, dtype=np.int64)
        self._all_rows = rows == list(range(len(table)))
        self._take: Any = slice(None) if self._all_rows else self.rows
        self._unique = len(set(rows)) == len(rows)
        self._ones: Floats = np.ones(len(rows))
        self._zeros: Floats = np.zeros(len(rows))
        self._services = len(table)
        self._shape = (len(rows),)
        self._uses = _uses(table, rows)
        self._positions: dict[int, list[int]] = {}
        for position, row in enumerate(rows):
            self._positions.setdefault(row, []).append(position)
        self.needs: dict[str, Bools] = {}
        self.signals: dict[str, list[int]] = {}
        self._declare_signals(rows, params)
        self._told: tuple[Floats, ...] = ()
        self._replica: tuple[Floats, ...] = ()
        self._fleet: Fleet | None = None
        self._low: Ints | None = None
        self._all_pooled: Bools | None = None
        self._pooled: Bools | None = None
        self._taken: tuple[Any, ...] = ()
        self._observation: Observation | None = None
        self._spans: dict[str, tuple[Floats, Floats]] = {}
        self._failure = ""
        stacked = stack_params(policy_type, params)
        if before is None:
            rng = np.random.Generator(np.random.PCG64([seed, zlib.crc32(self.name.encode())]))
            self.policy: Policy = policy_type.make(stacked, rng)
        else:
            self.policy = before.policy
            self.policy.rearrange(self._moved_from(before, moved), stacked)

    def _declare_signals(self, rows: Sequence[int], params: Sequence[Mapping[str, Any]]) -> None:
        for position, (row, given) in enumerate(zip(rows, params, strict=True)):
            for name in self.type.signals(given):
                self.needs.setdefault(name, np.zeros(len(rows), dtype=np.bool_))[position] = True
                self.signals.setdefault(name, []).append(row)
            for name in self.type.optional_signals:
                self.signals.setdefault(name, []).append(row)

    def _moved_from(self, before: Group, moved: Ints) -> Ints:
        """For each of our positions the position in `before` that was the same service's same use of the policy, or −1; moved (n,): the
        rows that services had then, −1 for new ones."""
        old = {use: position for position, use in enumerate(before._uses)}
        found: Ints = np.array([old.get(use, -1) for use in self._uses], dtype=np.int64)
        return np.where(moved[self.rows] >= 0, found, -1)

    def adopt(self, taught: Group, keys: Collection[str]) -> str:
        """Lets the services `keys` take over what the same policy has learnt of them apart. What went wrong, in words."""
        if not isinstance(self.policy, TakesOver):
            return ""
        places = {use: position for position, use in enumerate(taught._uses) if use[0] in keys}
        rows = np.array([places.get(use, -1) for use in self._uses], dtype=np.int64)
        try:
            self.policy.adopt(taught.policy, rows)
        except Exception as error:  # a stranger's plug-in: who is taught goes on without what it learnt
            return f"policy '{self.name}' failed to take over a past: {type(error).__name__}: {error}"
        return ""

    def shift(self, by_s: float) -> str:
        """The clock was set by `by_s`. What went wrong, in words."""
        if isinstance(self.policy, KeepsTimes):
            try:
                self.policy.shift(by_s)
            except Exception as error:  # a stranger's plug-in: all others' times are moved by now
                return f"policy '{self.name}' failed to move its times when the clock was set: {type(error).__name__}: {error}"
        return ""

    def remember(self, row: int) -> str:
        """What the policy wants to be remembered of the fleet's `row` (of its first use there); "" where that is nothing."""
        if not isinstance(self.policy, Remembers) or not self.positions(row):
            return ""
        try:
            text = self.policy.remember(self.positions(row)[0])
            if not isinstance(text, str):
                raise TypeError(f"a text is needed, not {type(text).__name__}")
        except Exception as error:  # a stranger's plug-in: then nothing is remembered
            self._failure = f"policy '{self.name}' failed to remember: {type(error).__name__}: {error}"
            return ""
        return text if len(text) <= LONGEST_TEXT else ""

    def recall(self, row: int, text: str) -> str:
        """Gives the policy back what it remembered of the fleet's `row`. What went wrong, in words."""
        if text and isinstance(self.policy, Remembers) and self.positions(row):
            try:
                self.policy.recall(self.positions(row)[0], text)
            except Exception as error:  # as above
                return f"policy '{self.name}' failed to recall: {type(error).__name__}: {error}"
        return ""

    def positions(self, row: int) -> Sequence[int]:
        """Where the fleet's `row` stands in this group (empty: nowhere)."""
        return self._positions.get(row, ())

    # ------------------------------------------------------------ a tick

    def observe(self, fleet: Fleet, table: Table, readings: Readings, histories: Mapping[str, History], step_s: float) -> None:
        """Lets the policy learn from the readings; the same observation serves recommend."""
        current, ready, starting, low, high, lead_time_s, node_lead_time_s = self._columns(fleet, table)
        pooled = table.pooled(fleet.pools)
        if pooled is not self._all_pooled:
            self._all_pooled = pooled
            self._pooled = None if pooled is None else pooled[self.rows]
        signals = {}
        for name in self.signals:
            signals[name] = self._signal(name, readings.signals.get(name), histories[name])
        if table.replica is not self._told:
            self._told = table.replica
            self._replica = tuple([column[self._take] for column in table.replica])
        capacity_per_s, slots, slots_slowdown, objective_target, promised_ratio, full_slots = self._replica
        self._observation = observation = _observation(
            at_s=readings.at_s,
            interval_s=step_s,
            signals=signals,
            current=current,
            ready=ready,
            starting=starting,
            min_replicas=low,
            max_replicas=high,
            capacity_per_s=capacity_per_s,
            slots=slots,
            slots_slowdown=slots_slowdown,
            lead_time_s=lead_time_s,
            node_lead_time_s=node_lead_time_s,
            objective_target=objective_target,
            promised_ratio=promised_ratio,
            full_slots=full_slots,
            pooled=self._pooled,
        )
        self._failure = ""
        try:
            self.policy.observe(observation)
        except Exception as error:  # a stranger's plug-in: its fault must not reach other services
            self._failure = f"policy '{self.name}' failed to observe: {type(error).__name__}: {error}"

    def _columns(self, fleet: Fleet, table: Table) -> tuple[Any, ...]:
        """Our rows of the fleet and of the bounds: the same arrays as long as these stay the same."""
        if fleet is not self._fleet or table.min_replicas is not self._low:
            self._fleet, self._low = fleet, table.min_replicas
            columns = (
                fleet.current,
                fleet.ready,
                fleet.starting,
                table.min_replicas,
                table.max_replicas,
                fleet.lead_time_s,
                fleet.node_lead_time_s,
            )
            self._taken = columns if self._all_rows else tuple([column[self.rows] for column in columns])
        return self._taken

    def _signal(self, name: str, column: SignalColumn | None, history: History) -> Signal:
        rows: History | HistoryRows = history if self._all_rows else history.select(self.rows)
        if column is None:
            m = len(self.rows)
            return Signal(
                values=np.full(m, np.nan),
                age_s=np.full(m, np.inf),
                state=np.full(m, UNKNOWN, dtype=np.int8),
                history=rows,
            )
        if self._all_rows:
            return _signal(values=column.values, age_s=column.age_s, state=column.state, history=rows, span_s=column.span_s)
        take = self.rows
        span_s = None
        if column.span_s is not None:
            # Picked once, so that a policy sees by its identity that nothing has changed.
            known = self._spans.get(name)
            if known is None or known[0] is not column.span_s:
                known = self._spans[name] = column.span_s, column.span_s[take]
            span_s = known[1]
        return Signal(values=column.values[take], age_s=column.age_s[take], state=column.state[take], history=rows, span_s=span_s)

    def recommend(self) -> Recommendation:
        """The policy's wish; NaN for all rows where it broke its contract, with the failure as the reason."""
        assert self._observation is not None
        m = len(self.rows)
        if not self._failure:
            try:
                wish = self.policy.recommend(self._observation)
                self._failure = self._misshapen(wish)
            except Exception as error:  # as above
                self._failure = f"policy '{self.name}' failed: {type(error).__name__}: {error}"
            else:
                if not self._failure:
                    return wish
        failure = self._failure
        return Recommendation(replicas=np.full(m, np.nan), why=lambda _row: failure)

    def _misshapen(self, wish: Recommendation) -> str:
        """What is wrong with a wish's shape or type, in words; what is in it is merge's business."""
        if self._usual(wish.replicas) and (wish.headroom is None or self._usual(wish.headroom)):
            return ""  # nearly always so, told at a third of the cost
        m = len(self.rows)
        for name, column in (("replicas", wish.replicas), ("headroom", wish.headroom)):
            if column is None and name == "headroom":
                continue
            if not isinstance(column, np.ndarray) or column.dtype.kind not in "fiu":
                return f"policy '{self.name}' gave {name} that is no array of numbers"
            if column.shape != (m,):
                return f"policy '{self.name}' gave {name} of shape {column.shape} for {m} services"
        return ""

    def _usual(self, column: Any) -> bool:
        return type(column) is np.ndarray and column.dtype is _FLOAT64 and column.shape == self._shape

    def foretold(self, wish: Recommendation) -> Forecast | None:
        """The wish's forecast. One that is not of our services is left out and named as a failure; the counts stay what they are."""
        if wish.forecast is None:
            return None
        try:
            fault = forecast_fault(wish.forecast, len(self.rows))
        except Exception as error:  # a stranger's plug-in: whatever it is, it is no forecast
            fault = f"{type(error).__name__}: {error}"
        if fault:
            self._failure = f"policy '{self.name}' gave a forecast that can't be used: {fault}"
            return None
        return wish.forecast

    @property
    def failure(self) -> str:
        """What the policy did wrong in this tick, "" where nothing."""
        return self._failure

    def merge(self, wish: Recommendation, merged: Merged) -> None:
        """Adds this group's wishes. A needed signal that is unknown makes a row partial, and so does a policy that can't tell, unless it is
        only a floor. Counts that aren't finite or are negative are no wish; absurdly high ones are LARGEST, which the bounds then cut."""
        replicas: Floats = np.asarray(wish.replicas, dtype=np.float64)
        unknown = self._unknown()
        if self._are_counts(replicas):
            merged.complete = merged.complete or self._all_rows
        else:
            replicas = _sane(replicas)
            if self.type.alone:
                silent = np.isnan(replicas)
                unknown = silent if unknown is None else unknown | silent
        if self._failure:
            unknown = np.ones(self._shape, dtype=np.bool_)
        merged.recommended = self._joined(np.fmax, merged.recommended, replicas, np.nan)
        if wish.headroom is not None:
            headroom: Floats = np.asarray(wish.headroom, dtype=np.float64)
            headroom = headroom if self._are_counts(headroom) else np.fmax(_sane(headroom), 0.0)
            merged.headroom = self._joined(np.fmax, merged.headroom, headroom, 0.0)
            merged.reach = self._joined(np.fmax, merged.reach, replicas + headroom, np.nan)
        if unknown is not None:
            merged.partial = self._joined(np.logical_or, merged.partial, unknown, False)

    def _are_counts(self, counts: Floats) -> bool:
        """Whether all of them (m,) are finite, none negative and none absurdly high. NaN and infinities make the sum one too; a dot product
        costs a fifth of testing each count."""
        return bool(counts.dot(self._ones) < LARGEST) and not some(counts < self._zeros)

    def _joined(self, join: np.ufunc, column: Any, values: Any, missing: float | bool) -> Any:
        """The column (n,), or one of `missing` where there is none yet, with our rows' values joined in."""
        if self._all_rows:
            return values if column is None else join(column, values)
        column = np.full(self._services, missing, dtype=values.dtype) if column is None else column.copy()
        if self._unique:
            column[self.rows] = join(column[self.rows], values)
        else:
            join.at(column, self.rows, values)
        return column

    def _unknown(self) -> Bools | None:
        """Rows (m,) with a needed signal unknown; None where there are none."""
        assert self._observation is not None
        found: Bools | None = None
        for name, needed in self.needs.items():
            state = self._observation.signals[name].state
            if not all_known(state):
                unknown = (state == UNKNOWN) & needed
                found = unknown if found is None else found | unknown
        return found


def _sane(counts: Floats) -> Floats:
    with np.errstate(invalid="ignore"):
        return np.where(np.isfinite(counts) & (counts >= 0), np.minimum(counts, LARGEST), np.nan)


def _uses(table: Table, rows: Sequence[int]) -> list[tuple[str, int]]:
    """(key, how many times it was there before) for each position: what stays the same when rows move."""
    counts: dict[str, int] = {}
    uses = []
    for row in rows:
        key = table.keys[row]
        uses.append((key, counts.get(key, 0)))
        counts[key] = counts.get(key, 0) + 1
    return uses
