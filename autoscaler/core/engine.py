"""From readings to decisions for all services at once: observe → recommend → constrain. Pure but for what it has learnt.

One policy object serves all services that name it (a *group*); a service that names several policies is a row of several groups and
gets the highest wish. What happens in a tick, in order: rows and columns are compiled anew if the fleet changed; the readings enter
the histories and teach what a replica can do; every group learns and recommends; the constraints of ``constraints.ORDER`` follow, then
the roles of a service are sized together; the outcome enters the histories.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from operator import add
from typing import Any, TypeAlias

import numpy as np

from autoscaler.core.allocation.cool_down import NodeNeeds
from autoscaler.core.columns import floats, number, plain, plain_number, rearranged
from autoscaler.core.constant import constant
from autoscaler.core.constraints import ORDER, STABILIZED, Constraint, Context, held
from autoscaler.core.group import Group, Merged
from autoscaler.core.history import History
from autoscaler.core.idle import WORK, IdleClock
from autoscaler.core.learnt_capacity import SIGNALS as CAPACITY_SIGNALS
from autoscaler.core.learnt_capacity import LearntCapacity
from autoscaler.core.model import (
    Bools,
    Decisions,
    Fleet,
    Floats,
    Forecast,
    Ints,
    Memory,
    PolicyMemory,
    Readings,
    Recommendation,
    ScalingSpec,
)
from autoscaler.core.nursery import Nursery, wants_past
from autoscaler.core.objective_limits import ObjectiveLimits
from autoscaler.core.policy import PolicyType
from autoscaler.core.remembered import changes_since, entries_of, recall, runs_of
from autoscaler.core.role_hold import RoleHold
from autoscaler.core.role_sizing import RoleStep
from autoscaler.core.rows import some
from autoscaler.core.table import Table
from autoscaler.core.updates import Updates
from autoscaler.core.value import maker
from autoscaler.core.words import limits_of, reasons_of

PastOf: TypeAlias = tuple[object, ...]
"""The (policy, signal) pairs of a service, where its signals come from and its target: equal ones have the same past."""

_context = maker(Context)
_decisions = maker(Decisions)
_EPSILON = constant(1e-9)
"""Float noise just above a whole number must not cost a replica."""
_NONE: Ints = np.zeros((), dtype=np.int64)


class Engine:
    """Decides for a fleet; holds what was learnt between ticks.

    policies: by name, what is installed. interval_s: the controller's period. seed: for policies that draw numbers; equal input and
    seed give equal decisions.
    """

    def __init__(self, policies: Mapping[str, PolicyType], interval_s: float, seed: int = 0) -> None:
        self._policies = policies
        self.interval_s = interval_s
        self._seed = seed
        self._table: Table | None = None
        self._groups: list[Group] = []
        self._objectives: ObjectiveLimits | None = None
        self._signals: dict[str, History] = {}
        self._wishes: History | None = None
        self._changes: History | None = None
        self._capacity: LearntCapacity | None = None
        """None where nobody's is learnt."""
        self._last_desired: Ints = np.empty(0, dtype=np.int64)
        self._last_current: Ints = np.empty(0, dtype=np.int64)
        self._fleet: Fleet | None = None
        self._any_starting = self._any_at_zero = self._any_none_ready = False
        self._idle = IdleClock()
        self.node_needs = NodeNeeds()
        """What pools needed lately; whoever plans puts it in and reads it. Here, so that it moves with the clock and is saved with the rest."""
        self._updates = Updates()
        self._role_hold = RoleHold()
        self._idle_s: Floats | None = None
        self._blind_since_s: Floats = np.empty(0)
        self._any_was_blind = True
        self._settled_at_s: Floats = np.empty(0)
        self._all_settled_at_s = float("-inf")
        self._relative: Bools | None = None
        """Rows (n,) with a policy that doesn't count replicas on their way; None: there are none."""
        self._last_at_s = float("nan")
        self.wanted: dict[str, list[int]] = {}
        self.faults: dict[int, str] = {}
        """Rows that name a policy that can't be used, with the fault in words. Until it is mended they never shrink, and are blind where
        no other policy can tell."""
        self._faulty: Ints = np.empty(0, dtype=np.int64)
        self.lookback_s = self._settle_s = 0.0
        self.past_of: dict[str, PastOf] = {}
        """By key, of the services whose policies want to be shown the past: what that past is of."""
        self._recalled_of_s: dict[str, dict[str, float]] = {}
        """By key, of services met in this tick, and by policy: until when it had learnt what it took back."""
        self.resettled = False
        """Whether the last compilation met known services with another past, which no record tells (it leaves out the sources)."""

    # ------------------------------------------------------------ following the fleet

    def prepare(self, fleet: Fleet, at_s: float) -> bool:
        """Compiles anew if the fleet's revision changed; returns whether it did."""
        old = self._table
        if old is not None and old.revision == fleet.revision:
            return False
        table = Table(fleet)
        moved = np.array([_row_before(old, spec) for spec in table.specs], dtype=np.int64)
        self._capacity = LearntCapacity(table, self._capacity, moved) if table.learns_capacity else None
        self._objectives = ObjectiveLimits(table, self._objectives, moved)
        self._make_groups(table, moved)
        self._make_histories(table, moved)
        self._last_desired = rearranged(self._last_desired, moved, -1)
        self._last_current = rearranged(self._last_current, moved, -1)
        self._blind_since_s = rearranged(self._blind_since_s, moved, np.nan)
        self._idle.rearrange(moved)
        self._updates.rearrange(moved)
        self._role_hold.rearrange(moved, None if old is None else old.roles, table.roles, at_s)
        self._idle_s = None
        self._settled_at_s = rearranged(self._settled_at_s, moved, at_s + self._settle_s)
        self._note_pasts(table, moved, at_s)
        self._all_settled_at_s = float(self._settled_at_s.max(initial=-np.inf))
        self._any_was_blind = True
        self._table = table
        self._meet(np.flatnonzero(moved < 0).tolist(), fleet, at_s, old.row_of.keys() if old is not None else ())
        return True

    def _make_groups(self, table: Table, moved: Ints) -> None:
        self.faults = {}
        members: dict[str, list[tuple[int, Mapping[str, Any]]]] = {}
        for row, spec in enumerate(table.specs):
            for ref in spec.policies:
                members.setdefault(ref.name, []).append((row, ref.params))
        before = {group.name: group for group in self._groups}
        self._groups = []
        for name, rows in members.items():
            policy_type = self._policies.get(name)
            if policy_type is None:
                known = ", ".join(sorted(self._policies))
                self.faults.update((row, f"policy '{name}' is not installed; there are {known}") for row, _ in rows)
                continue
            try:
                group = Group(policy_type, table, rows, self._seed, before.get(name), moved)
            except Exception as error:  # a stranger's plug-in: its fault must not reach services that don't name it
                words = f"policy '{name}' can't be made: {type(error).__name__}: {error}"
                self.faults.update((row, words) for row, _ in rows)
                continue
            self.faults.update(group.faults)
            if len(group.rows):
                self._groups.append(group)
        self._faulty = np.array(sorted(self.faults), dtype=np.int64)

    def _make_histories(self, table: Table, moved: Ints) -> None:
        types = [group.type for group in self._groups]
        self.lookback_s = max((one.lookback_s for one in types), default=0.0)
        self._settle_s = max((one.lookback_s if one.settle_s is None else one.settle_s for one in types), default=0.0)
        wanted: dict[str, set[int]] = {}
        for group in self._groups:
            for name, rows in group.signals.items():
                wanted.setdefault(name, set()).update(rows)
        remembered = [name for name, rows in wanted.items() if rows]
        relative: Bools = np.zeros(len(table), dtype=np.bool_)
        for group in self._groups:
            if not group.type.counts_starting:
                relative[group.rows] = True
        self._relative = relative if relative.any() else None
        if self._relative is not None:
            # Demand and backlog tell what is justified while replicas start (constraints.StartingReplicas).
            known = set(np.flatnonzero(relative & ~np.isnan(table.capacity_per_s)).tolist())
            for name in ("demand", "queue"):
                wanted.setdefault(name, set()).update(known)
        if self._capacity is not None:
            for name in CAPACITY_SIGNALS:
                wanted.setdefault(name, set()).update(self._capacity.rows.tolist())
        for name, measured in self.objectives.signals.items():
            wanted.setdefault(name, set()).update(measured)
        for name in WORK if table.any_sleeps else ():
            wanted.setdefault(name, set()).update(np.flatnonzero(table.sleeps).tolist())
        self.wanted = {name: sorted(rows) for name, rows in wanted.items() if rows}
        columns = int(np.ceil(self.lookback_s / self.interval_s)) + 1
        self._signals = {name: _history(self._signals.get(name), moved, columns) for name in remembered}
        self._wishes = _history(self._wishes, moved, self._columns(table.longest_window_s)) if table.stabilizes else None
        remembers_changes = table.longest_period_s > self.interval_s
        self._changes = _history(self._changes, moved, self._columns(table.longest_period_s)) if remembers_changes else None

    def _note_pasts(self, table: Table, moved: Ints, at_s: float) -> None:
        """A service that is decided on by other signals or policies than before is new in this: it settles again."""
        before, self.past_of, self.resettled = self.past_of, {}, False
        names: dict[int, list[object]] = {}
        for group in self._groups:
            if wants_past(group.type):
                for name, rows in group.signals.items():
                    for row in rows:
                        names.setdefault(row, []).append((group.name, name))
        for row, of in names.items():
            key, spec = table.keys[row], table.specs[row]
            past = self.past_of[key] = (frozenset(of), spec.sources, spec.target)
            if moved[row] >= 0 and before.get(key) != past:
                self._settled_at_s[row] = at_s + self._settle_s
                self.resettled = True

    def _columns(self, window_s: float) -> int:
        return int(np.ceil(window_s / self.interval_s)) + 2

    def _meet(self, rows: Sequence[int], fleet: Fleet, at_s: float, retargeted: Collection[str]) -> None:
        """Services that this engine sees for the first time: what their status remembers counts (but not of those `retargeted` keys that
        it knows with another target: that is what it is of), and what runs counts as wished.

        As HPA does at a first sight, the current count enters the windows, so that neither a restart nor a new leader scales
        down before a whole down window has passed.
        """
        remembered = {key: memory for key, memory in fleet.memories.items() if key not in retargeted}
        memories = [(row, remembered.get(self.table.keys[row], Memory())) for row in rows]
        for row, memory in memories:
            if memory.desired is not None:
                self._last_desired[row] = memory.desired
            if memory.blind_since_s is not None:
                self._blind_since_s[row] = memory.blind_since_s
            if memory.idle_s is not None:
                self._idle.recall(row, memory.idle_s, at_s)
            if memory.replaced_at_s is not None:
                self._updates.recall(row, memory.replaced_at_s, at_s)
        if self._capacity is not None:
            learnt = {row: memory.capacity for row, memory in memories if memory.capacity is not None}
            self._capacity.recall(self.table, learnt)
        for row, memory in memories:
            known = {group.name: memory.learnt[group.name] for group in self._groups if group.name in memory.learnt}
            self._recalled_of_s[self.table.keys[row]] = {name: one.at_s for name, one in known.items()}
            for group in self._groups:
                if group.name in known:
                    group.recall(row, known[group.name].text)
        if self._wishes is not None:
            wishes = [(row, memory.recommendations) for row, memory in memories]
            recall(self._wishes, wishes, at_s, self.interval_s, max)
            for row in rows:
                self._wishes.put(row, at_s, float(fleet.current[row]), max)
        if self._changes is not None:
            changes = [(row, changes_since(memory, int(fleet.current[row]))) for row, memory in memories]
            recall(self._changes, changes, at_s, self.interval_s, add)

    # ------------------------------------------------------------ a tick

    def nursery(self, fleet: Fleet, keys: Collection[str]) -> Nursery:
        """Where the services `keys` are taught their past while this engine goes on."""
        table = self._compiled(fleet)
        columns = int(np.ceil(self.lookback_s / self.interval_s)) + 1
        rows = [table.row_of[key] for key in keys]
        usable = {group.name: group.type for group in self._groups}  # for what can't be made here nobody takes over a past
        nursery = Nursery(fleet, table, usable, columns=columns, seed=self._seed, rows=rows)
        for row in rows:
            for group in self._groups:
                # What was learnt over days goes on from where it was: the past that is shown teaches what came since.
                met = self._recalled_of_s.get(table.keys[row])
                at_s = self._last_at_s if met is None else met.get(group.name)
                if at_s is not None and (text := group.remember(row)):
                    nursery.recall_later(group.name, row, PolicyMemory(at_s=at_s, text=text))
        return nursery

    def adopt(self, taught: Nursery, keys: Collection[str], at_s: float, gaps: Collection[str] = ()) -> tuple[str, ...]:
        """The services `keys` take over what was learnt of them apart; those whose near past was known need not wait any longer for their
        histories to fill, unless it has `gaps` or a policy can't take it over. What went wrong, in words."""
        place = {key: row for row, key in enumerate(taught.table.keys) if key in keys}
        rows: Ints = np.array([place.get(key, -1) for key in self.table.keys], dtype=np.int64)
        for name, history in self._signals.items():
            if name in taught.histories:
                history.adopt(taught.histories[name], rows)
        known = rearranged(taught.known(), rows, False)
        known[[self.table.row_of[key] for key in gaps if key in self.table.row_of]] = False
        faults = []
        taught.recall(float("inf"))
        for group in self._groups:
            if group.name in taught.groups and (fault := group.adopt(taught.groups[group.name], keys)):
                faults.append(fault)
                known[group.rows] = False
        self._settled_at_s = np.where(known, np.minimum(self._settled_at_s, at_s), self._settled_at_s)
        self._all_settled_at_s = float(self._settled_at_s.max(initial=-np.inf))
        return tuple(faults)

    def shift(self, by_s: float) -> tuple[str, ...]:
        """The wall clock was set by `by_s` (negative: back): remembered moments move along, so that windows and holds age by the time that
        really passed, not by what somebody set. What went wrong in policies, in words."""
        for history in (*self._signals.values(), self._wishes, self._changes):
            if history is not None:
                history.shift(by_s)
        if self._capacity is not None:
            self._capacity.shift(by_s)
        self._blind_since_s = self._blind_since_s + by_s
        self._idle.shift(by_s)
        self._updates.shift(by_s)
        self._role_hold.shift(by_s)
        self.node_needs.shift(by_s)
        self._settled_at_s = self._settled_at_s + by_s
        self._all_settled_at_s += by_s
        self._last_at_s += by_s
        return tuple([fault for group in self._groups if (fault := group.shift(by_s))])

    def decide(self, fleet: Fleet, readings: Readings) -> Decisions:
        """One tick's decisions. Each tick's readings must be later than the last one's."""
        at_s = readings.at_s
        table = self._compiled(fleet)
        table.move_bounds(at_s)
        if self._capacity is not None:
            self._capacity.learn(table, fleet, readings, self.interval_s)
        self.objectives.learn(fleet, readings, self.interval_s)
        self._remember(readings)
        self._remember_changes(fleet)
        if fleet is not self._fleet:
            self._see(fleet)

        merged, wishes, forecasts = self._wished(fleet, table, readings)
        recommended = table.no_wish if merged.recommended is None else merged.recommended
        partial = self._partial(merged.partial)
        blind: Bools = table.nowhere if merged.complete else np.isnan(recommended)
        any_blind = not merged.complete and some(blind)
        if any_blind or self._any_was_blind:
            self._note_blind(blind, any_blind, at_s)
        context = _context(
            at_s=at_s,
            interval_s=self.interval_s,
            fleet=fleet,
            table=table,
            recommended=recommended,
            last_desired=self._last_desired,
            blind_since_s=self._blind_since_s,
            blind=blind,
            any_blind=any_blind,
            partial=partial,
            any_partial=partial is not table.nowhere and some(partial),
            settling=self._settling(at_s),
            updating=self._updates.look(fleet, at_s),
            relative=self._relative,
            any_starting=self._any_starting,
            any_at_zero=self._any_at_zero,
            any_none_ready=self._any_none_ready,
            readings=readings,
            idleness=self._idle.look(fleet, readings, table.idle_after_s, self.interval_s) if table.any_sleeps else None,
            wishes=self._wishes,
            changes=self._changes,
        )
        counts, steps = self._constrained(context)
        roles = None if table.roles is None else RoleStep(context, table.roles, counts, self._role_hold.look(at_s))
        if roles is not None:
            steps += roles.steps
            counts = roles.counts
        self._last_desired = counts
        self._last_at_s = at_s
        self._recalled_of_s.clear()
        self._idle_s = self._idle.remembered_s(table.idle_after_s) if table.any_sleeps else None
        return _decisions(
            at_s=at_s,
            recommended=recommended,
            desired=counts,
            headroom=self._room(merged, counts, fleet, at_s),
            blind=blind,
            partial=partial,
            capacity_per_s=table.full_capacity_per_s,
            capacity_confidence=None if self._capacity is None else self._capacity.confidence(len(table)),
            limits=limits_of(context, steps),
            reason=reasons_of(context, wishes, self.faults, self.objectives.binding),
            objective=self.objectives.binding,
            warnings=lambda row: tuple(self.objectives.warnings(row)),
            forecasts=tuple(forecasts),
            idle_s=self._idle_s,
            roles=None if roles is None else roles.said(),
        )

    def _see(self, fleet: Fleet) -> None:
        """What decisions ask of the counts, told once for as long as they stay."""
        self._fleet = fleet
        self._any_starting = bool(np.count_nonzero(fleet.starting))
        self._any_at_zero = bool(np.count_nonzero(fleet.current) < len(fleet))
        self._any_none_ready = bool(np.count_nonzero(fleet.ready) < len(fleet))

    def _note_blind(self, blind: Bools, any_blind: bool, at_s: float) -> None:
        self._blind_since_s = np.where(blind, np.fmin(self._blind_since_s, at_s), np.nan)
        self._any_was_blind = any_blind

    def _wished(
        self, fleet: Fleet, table: Table, readings: Readings
    ) -> tuple[Merged, list[tuple[Group, Recommendation]], list[tuple[str, Ints, Forecast]]]:
        """What the policies learn from the readings and wish: merged, by group, and the forecasts behind it."""
        merged = Merged()
        wishes: list[tuple[Group, Recommendation]] = []
        forecasts: list[tuple[str, Ints, Forecast]] = []
        for group in self._groups:
            group.observe(fleet, table, readings, self._signals, self.interval_s)
            wish = group.recommend()
            wishes.append((group, wish))
            group.merge(wish, merged)
            forecast = group.foretold(wish)
            if forecast is not None:
                forecasts.append((group.name, group.rows, forecast))
        return merged, wishes, forecasts

    @property
    def table(self) -> Table:
        """The fleet's configuration as compiled by the last prepare."""
        if self._table is None:
            raise ValueError("prepare(fleet) comes first")
        return self._table

    def _constrained(self, context: Context) -> tuple[Ints, list[tuple[Constraint, Ints, Ints]]]:
        """What is left of the wishes after the constraints of ORDER, and which of them changed what; the wishes enter their windows."""
        counts: Ints = (
            np.ceil(context.recommended - _EPSILON).astype(np.int64)
            if not context.any_blind
            else _start(context.recommended, context.blind, held(context))
        )
        steps: list[tuple[Constraint, Ints, Ints]] = []
        for constraint in ORDER:
            if constraint is STABILIZED:
                unstabilized = counts
            if constraint.active(context):
                after = constraint.limit(context, counts)
                if after is not counts:
                    steps.append((constraint, counts, after))
                    counts = after
        if self._wishes is not None:
            # What a blind service holds counts as wished: the first low wish after blindness must not act at once.
            self._wishes.push(context.at_s, np.where(context.blind, counts, unstabilized) if context.any_blind else unstabilized)
        return counts, steps

    def _room(self, merged: Merged, counts: Ints, fleet: Fleet, at_s: float) -> Ints:
        """Whole replicas of room, (n,), beyond `counts`: what was asked for, but none for replicas that are among these already (minReplicas
        above the wish, a window, a hold), nor for such as maxReplicas will never let come; and what a schedule's lower bound brings within a
        node's lead time."""
        table, room = self.table, self.table.nothing
        if merged.headroom is not None and merged.reach is not None:
            room = np.ceil(np.fmin(merged.headroom, merged.reach - counts) - _EPSILON).astype(np.int64)
            room = np.maximum(np.minimum(room, table.max_replicas - counts), _NONE)
        coming = table.coming_min(at_s, fleet, self.interval_s)
        return room if coming is table.nothing else np.maximum(room, coming - counts)

    @property
    def objectives(self) -> ObjectiveLimits:
        """What the fleet's objectives allow."""
        if self._objectives is None:
            raise ValueError("prepare(fleet) comes first")
        return self._objectives

    def problems(self) -> tuple[str, ...]:
        """What policies did wrong in the last tick, in words."""
        return tuple([group.failure for group in self._groups if group.failure])

    def _compiled(self, fleet: Fleet) -> Table:
        if self._table is None or self._table.revision != fleet.revision:
            raise ValueError("prepare(fleet) comes first: the fleet's revision has changed")
        return self._table

    def _remember(self, readings: Readings) -> None:
        for name, history in self._signals.items():
            column = readings.signals.get(name)
            history.push(readings.at_s, np.full(len(history), np.nan) if column is None else column.values)

    def _remember_changes(self, fleet: Fleet) -> None:
        if self._changes is not None and self._last_at_s == self._last_at_s:
            # A change seen now was made right after the tick before this one: that is its time, as HPA notes it.
            known = self._last_current >= 0
            self._changes.push(self._last_at_s, np.where(known, fleet.current - self._last_current, 0).astype(np.float64))
        self._last_current = fleet.current

    def _partial(self, said: Bools | None) -> Bools:
        partial = self.table.nowhere if said is None else said
        if len(self._faulty):
            partial = partial.copy()
            partial[self._faulty] = True
        return partial

    def _settling(self, at_s: float) -> Bools | None:
        if at_s >= self._all_settled_at_s:
            return None
        settling: Bools = self._settled_at_s > at_s
        return settling if some(settling) else None

    # ------------------------------------------------------------ what survives

    def memory(self, row: int) -> Memory:
        """What the service's status should remember of this engine's past decisions."""
        return Memory(
            desired=int(self._last_desired[row]) if self._last_desired[row] >= 0 else None,
            blind_since_s=plain_number(float(self._blind_since_s[row])),
            recommendations=runs_of(self._wishes, row),
            scale_events=tuple(entry for entry in entries_of(self._changes, row) if entry[1]),
            current=(self._last_at_s, int(self._last_current[row]))
            if self._changes is not None and self._last_current[row] >= 0
            else None,
            capacity=None if self._capacity is None else self._capacity.memory(row),
            idle_s=self._idle_s[row].item() if self._idle_s is not None and self._idle_s[row] > 0 else None,
            replaced_at_s=self._updates.memory(row, self._last_at_s),
            learnt={
                group.name: PolicyMemory(at_s=self._last_at_s, text=text)
                for group in self._groups
                if (text := group.remember(row))
            },
        )

    def save(self) -> dict[str, Any]:
        """Everything learnt, as plain JSON values; with the same fleet, ``load`` continues exactly from here."""
        return {
            "schema": 1,
            "services": list(self.table.keys),
            "policies": {group.name: group.policy.save() for group in self._groups},
            "signals": {name: history.save() for name, history in self._signals.items()},
            "wishes": self._wishes.save() if self._wishes else None,
            "changes": self._changes.save() if self._changes else None,
            "capacity": self._capacity.save() if self._capacity else None,
            "objectives": self.objectives.save(),
            "last_desired": self._last_desired.tolist(),
            "last_current": self._last_current.tolist(),
            "blind_since_s": plain(self._blind_since_s),
            "settled_at_s": plain(self._settled_at_s),
            "idle": self._idle.save(),
            "updates": self._updates.save(),
            "role_hold": self._role_hold.save(),
            "last_at_s": plain_number(self._last_at_s),
            **({"node_needs": self.node_needs.save()} if self.node_needs else {}),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Takes back what ``save`` gave, after ``prepare`` with the same services. State of another schema or of others is ignored."""
        if state.get("schema") != 1 or state["services"] != list(self.table.keys):
            return
        for group in self._groups:
            if group.name in state["policies"]:
                group.policy.load(state["policies"][group.name])
        if "objectives" in state:
            self.objectives.load(state["objectives"])
        for name, history in self._signals.items():
            if name in state["signals"]:
                history.load(state["signals"][name])
        for history_or_none, saved in ((self._wishes, state["wishes"]), (self._changes, state["changes"])):
            if history_or_none is not None and saved is not None:
                history_or_none.load(saved)
        if self._capacity is not None and (learnt := state.get("capacity")) is not None:
            self._capacity.load(self.table, learnt)
        self._last_desired = np.array(state["last_desired"], dtype=np.int64)
        self._last_current = np.array(state["last_current"], dtype=np.int64)
        self._blind_since_s = floats(state["blind_since_s"])
        self._settled_at_s = floats(state["settled_at_s"])
        self._all_settled_at_s = float(self._settled_at_s.max(initial=-np.inf))
        self._any_was_blind = True
        self._last_at_s = number(state["last_at_s"])
        if "idle" in state:  # states written before services could go to zero have none
            self._idle.load(state["idle"])
        if "updates" in state:  # likewise, before versions were looked at
            self._updates.load(state["updates"])
        if "role_hold" in state:
            self._role_hold.load(state["role_hold"])
        if "node_needs" in state:
            self.node_needs.load(state["node_needs"])


# ---------------------------------------------------------------- small pieces


def _row_before(old: Table | None, spec: ScalingSpec) -> int:
    """The row of the same service before, −1 where there was none: under the same name with another target it is another service."""
    row = -1 if old is None else old.row_of.get(spec.key, -1)
    return row if old is not None and row >= 0 and old.specs[row].target == spec.target else -1


def _history(old: History | None, moved: Ints, length: int) -> History:
    """The old history with its rows moved, or a new one."""
    return History(len(moved), length) if old is None else old.resized(moved, length)


def _start(recommended: Floats, blind: Bools, hold: Ints) -> Ints:
    return np.where(blind, hold, np.ceil(np.where(blind, 0.0, recommended) - _EPSILON)).astype(np.int64)
