"""Where services are taught their past: policy objects of their own, shown it in order of time while the engine's go on deciding.

A policy object serves many services and sees time go forward, so it can't be shown the past of one of them. That one grows up apart, and
the engine's policies then take over what these have learnt (``core.policy.TakesOver``): nobody else's row is touched by it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from autoscaler.core.group import Group
from autoscaler.core.history import History
from autoscaler.core.model import Bools, Fleet, PolicyMemory, Readings
from autoscaler.core.policy import PolicyType
from autoscaler.core.table import Table


def wants_past(policy_type: PolicyType) -> bool:
    """Whether the policy is shown the past. One that wants none must not begin there: it may count from its first tick."""
    return bool(policy_type.lookback_s or policy_type.backfill_s)


class Nursery:
    """The services `rows` of a fleet, each with those of its policies that want a past.

    columns: how many moments histories hold. What is learnt is of the fleet as it was handed in; who takes it over goes by keys.
    """

    def __init__(
        self, fleet: Fleet, table: Table, policies: Mapping[str, PolicyType], *, columns: int, seed: int, rows: Collection[int]
    ) -> None:
        self.table = table
        self._fleet = fleet
        members: dict[str, list[tuple[int, Mapping[str, Any]]]] = {}
        for row in sorted(rows):
            for ref in table.specs[row].policies:
                if ref.name in policies and wants_past(policies[ref.name]):
                    members.setdefault(ref.name, []).append((row, ref.params))
        nobody = np.full(len(table), -1, dtype=np.int64)
        self.failures: dict[str, str] = {}
        """By policy, the first thing that it did wrong, in words. It is shown nothing more, and nobody takes over what it has learnt."""
        self._failed: dict[str, str] = {}
        made = []
        for name, uses in members.items():
            try:
                made.append(Group(policies[name], table, uses, seed, None, nobody))
            except Exception as error:  # a stranger's plug-in: its fault must not reach services that don't name it
                self._fail(name, [row for row, _ in uses], f"policy '{name}' can't be made: {type(error).__name__}: {error}")
        self.groups = {group.name: group for group in made if len(group.rows)}
        self.histories = {name: History(len(table), columns) for group in made for name in group.signals}
        self._memories: list[tuple[str, int, PolicyMemory]] = []
        """(policy, row, what it had learnt) that is still to be recalled."""
        self.backfill_s = max((group.type.backfill_s for group in self.groups.values()), default=0.0)

    def _fail(self, name: str, rows: Iterable[int], words: str) -> None:
        self.failures[name] = words
        for row in rows:
            self._failed.setdefault(self.table.keys[row], words)

    @property
    def failed(self) -> Mapping[str, str]:
        """By key, the services that a policy has failed, in words."""
        return self._failed

    def wanted(self, *, far: bool) -> dict[str, Sequence[int]]:
        """Signal → rows whose past is to be shown; far: only for policies that want more of it than their histories hold."""
        wanted: dict[str, set[int]] = {}
        for group in self.groups.values():
            if group.type.backfill_s or not far:
                for name, rows in group.signals.items():
                    wanted.setdefault(name, set()).update(rows)
        return {name: sorted(rows) for name, rows in wanted.items() if rows}

    def recall_later(self, policy: str, row: int, learnt: PolicyMemory) -> None:
        """What the policy had learnt of a row by some moment goes back into it before a later moment is shown."""
        self._memories.append((policy, row, learnt))

    def recall(self, before_s: float) -> None:
        """Recalls what had been learnt before that moment, and is not recalled yet."""
        due = [one for one in self._memories if one[2].at_s < before_s]
        if due:
            self._memories = [one for one in self._memories if one[2].at_s >= before_s]
        for policy, row, learnt in due:
            if policy in self.groups and (fault := self.groups[policy].recall(row, learnt.text)):
                self._fail(policy, self.groups.pop(policy).rows.tolist(), fault)

    def learn(self, readings: Readings, step_s: float, *, far: bool) -> None:
        """Shows a moment, `step_s` after the one before; each must be later than the last one."""
        if not far:
            self.recall(readings.at_s)
            for name, history in self.histories.items():
                column = readings.signals.get(name)
                history.push(readings.at_s, np.full(len(history), np.nan) if column is None else column.values)
        for group in list(self.groups.values()):
            if group.type.backfill_s or not far:
                group.observe(self._fleet, self.table, readings, self.histories, step_s)
                if group.failure:
                    self._fail(group.name, group.rows.tolist(), group.failure)
                    del self.groups[group.name]

    def known(self) -> Bools:
        """Rows (n,) whose near past is known: each signal that their policies need (where they need none, one of those they use) for at
        least half of the time that histories reach back, and no policy has failed them."""
        seen = {name: _often(history) for name, history in self.histories.items()}
        known: Bools = np.zeros(len(self.table), dtype=np.bool_)
        lacking: Bools = np.zeros(len(self.table), dtype=np.bool_)
        for group in self.groups.values():
            for name, rows in group.signals.items():
                known[rows] |= seen[name][rows]
            for name, needed in group.needs.items():
                lacking[group.rows[needed]] |= ~seen[name][group.rows[needed]]
        lacking[[self.table.row_of[key] for key in self._failed]] = True
        return known & ~lacking


def _often(history: History) -> Bools:
    """Rows (n,) known at half of the moments or more that a history holds beside the present one."""
    known: Bools = np.isfinite(history.last(history.filled)).sum(axis=1) >= max(0.5 * (history.length - 1), 1.0)
    return known
