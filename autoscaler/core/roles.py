"""Roles of one service, such as prefill and decode: who belongs together, and the least counts that keep their ratios. Pure.

A role is an object of its own; objects of one namespace whose roles name the same service are *sized together*. Every bound of a ratio says
that one role needs others: ``prefill ÷ decode ≥ 0.25`` that prefill needs 0.25 × decode, ``prefill ÷ decode ≤ 1`` that decode needs 1 ×
prefill. And the roles of a service are awake together: where one runs, each of the others needs one replica (one multiple) at least. So all
that is asked is of one kind, *needs ≥ factor × of*, and the answer is the least fixed point above the roles' own counts: whole multiples,
each at least its own, all ratios kept.

What follows from that:

- Nobody is ever given fewer than its own count, and more of a role's own is never fewer of any (the operator is monotone).
- Were there counts within the upper bounds that keep all ratios and take nothing from any role's own, they would be at least the fixed
  point, so the fixed point would lie within the bounds, too. Where it doesn't, holding a role back could only mend one ratio by breaking
  another, or by taking what a role needs for its own demand: nobody is held back, each goes as far as its bounds let it, and the ratio that
  isn't kept is told.
- It is reached: counts only grow, and around a cycle of needs they shrink by ``TOLERANCE`` at least but for being rounded up (bounds that
  contradict each other, whose cycles would grow for ever, are found beforehand and do not count).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from autoscaler.core.model import Bools, Floats, Ints, Ratio, Role, ScalingSpec

TOLERANCE: Final = 0.02
"""A bound is kept where it is missed by no more than this share: replicas are whole, and 0.33 is meant to be one to three."""
MOST_ROLES: Final = 32
"""Of one service; more would cost everybody's tick."""
_AWAKE: Final = 1e-9
"""A factor that asks for one replica as soon as there is any."""
_ROUNDING: Final = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """Row `row` needs `factor` × the count of row `of`. ratio: where that stands, and is_min: which of its bounds; None: being awake together."""

    row: int
    of: int
    factor: float
    ratio: Ratio | None = None
    is_min: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleFault:
    """What is wrong with a role. field: of ``spec.role``. passing: it may be right as soon as another object is there."""

    words: str
    field: str
    passing: bool = False


class Roles:
    """The services of a fleet that have several roles, compiled from its specs.

    members: rows of each service, in the fleet's order, by each of its rows; only those that are sized together. rows, starts: all of them,
    service by service, and where each service begins. counts_on (n,): where the decision counts for others (Shadow's does not).
    never_grows (n,): behavior forbids it. faults, fault_words: by row.
    """

    def __init__(self, specs: Sequence[ScalingSpec]) -> None:
        self._specs = specs
        self.faults: dict[int, list[RoleFault]] = {}
        self.members: dict[int, tuple[int, ...]] = {}
        self.needs: list[Need] = []
        self._of_row: dict[int, list[Need]] = {}
        for group in _services(specs):
            members = self._one_each(group)
            if len(members) < 2:
                self._alone(members)
                continue
            self.members.update(dict.fromkeys(members, tuple(members)))
            self._take(list(self._ratio_needs(members)), members)
        for need in self.needs:
            self._of_row.setdefault(need.row, []).append(need)
        self._row: Ints = np.array([need.row for need in self.needs], dtype=np.int64)
        self._of: Ints = np.array([need.of for need in self.needs], dtype=np.int64)
        self._factor: Floats = np.array([need.factor * (1.0 - TOLERANCE) for need in self.needs])
        self.fault_words = {row: "; ".join(fault.words for fault in found) for row, found in self.faults.items()}
        distinct = list(dict.fromkeys(self.members.values()))
        self.rows: Ints = np.array([row for rows in distinct for row in rows], dtype=np.int64)
        self.starts: Ints = np.cumsum([0, *map(len, distinct)], dtype=np.int64)[:-1]
        self._service: Ints = np.repeat(np.arange(len(distinct)), [len(rows) for rows in distinct])
        self.counts_on: Bools = np.array([spec.mode != "Shadow" for spec in specs], dtype=np.bool_)
        self.never_grows: Bools = np.array([spec.scale_up.select == "Disabled" for spec in specs], dtype=np.bool_)

    # ------------------------------------------------------------ who belongs together

    def _one_each(self, group: Sequence[int]) -> list[int]:
        """The rows of a service that are sized together: one for each role."""
        named: dict[str, list[int]] = {}
        for row in group:
            named.setdefault(self.name(row), []).append(row)
        members: list[int] = []
        for name, rows in named.items():
            # A Shadow beside an object that acts is a trial of it, and must not put it out of its place.
            real = [row for row in rows if self._specs[row].mode != "Shadow"] or rows
            for row in rows:
                others = [self._specs[other].key for other in real if other != row]
                if others:
                    words = f"service '{self.service(row)}' has role '{name}' twice, also as {', '.join(others)}: sized alone"
                    self._note(row, RoleFault(words=words, field="name"))
            members += real if len(real) == 1 else []
        if len(members) > MOST_ROLES:
            words = f"service '{self.service(group[0])}' has {len(members)} roles, at most {MOST_ROLES} are sized together: sized alone"
            for row in members:
                self._note(row, RoleFault(words=words, field="service"))
            return []
        return sorted(members)

    def _alone(self, members: Sequence[int]) -> None:
        for row in members:
            ratios = self._role(row).ratios
            if ratios:
                named = " and ".join(f"'{ratio.to}'" for ratio in ratios)
                service = self.service(row)
                words = f"service '{service}' has no {named} yet that is one object's role: sized alone until it has"
                self._note(row, RoleFault(words=words, field="ratios", passing=True))

    def _ratio_needs(self, members: Sequence[int]) -> Iterator[Need]:
        row_of = {self.name(row): row for row in members}
        for row in members:
            missing = []
            for ratio in self._role(row).ratios:
                to = row_of.get(ratio.to, row)
                if to == row:
                    missing.append(f"'{ratio.to}'")
                    continue
                if ratio.min:
                    yield Need(row=row, of=to, factor=ratio.min, ratio=ratio)
                if ratio.max:
                    yield Need(row=to, of=row, factor=1.0 / ratio.max, ratio=ratio, is_min=False)
            if missing:
                others = ", ".join(name for name in row_of if name != self.name(row))
                words = f"service '{self.service(row)}' has no other role {' and '.join(missing)} (there is {others}): that ratio does not count"
                self._note(row, RoleFault(words=words, field="ratios"))

    def _take(self, needs: Sequence[Need], members: Sequence[int]) -> None:
        """The needs of one service, but for ratios that contradict each other."""
        if (cycle := _contradiction(needs, members)) is not None:
            names = " and ".join(self.name(row) for row in cycle)
            words = (
                f"the ratios of service '{self.service(members[0])}' contradict each other ({names} can never meet them all): none of them "
                "counts, its roles only run and rest together"
            )
            for row in members:
                self._note(row, RoleFault(words=words, field="ratios"))
            needs = ()
        linked = {(need.row, need.of) for need in needs}
        pairs = [(one, other) for one in members for other in members if one != other and (one, other) not in linked]
        self.needs += [*needs, *(Need(row=one, of=other, factor=_AWAKE) for one, other in pairs)]

    def _note(self, row: int, fault: RoleFault) -> None:
        self.faults.setdefault(row, []).append(fault)

    def doubts(self, row: int) -> str:
        """Whether what is asked of a row can be kept within the bounds of its service's roles at all, in words; "" where it can."""
        multiple: Ints = np.array([spec.replica_multiple for spec in self._specs], dtype=np.int64)
        least: Ints = np.array([max(spec.min_replicas, 1) for spec in self._specs], dtype=np.int64)
        most: Ints = np.array([spec.max_replicas for spec in self._specs], dtype=np.int64) // multiple * multiple
        least = -(-least // multiple) * multiple
        counts = self.least(least, np.maximum(most, least), multiple)
        for need in self.needs_of(row):
            if (asked := self.asked(need, counts, multiple)) > counts[row]:
                there = f"{int(counts[need.of])} {self.name(need.of)}"
                return f"its ratios can't be kept: {there}, the fewest that there can be, ask for {asked}, maxReplicas is {int(most[row])}"
        return ""

    def _role(self, row: int) -> Role:
        role = self._specs[row].role
        assert role is not None
        return role

    def name(self, row: int) -> str:
        return self._role(row).name

    def service(self, row: int) -> str:
        return self._role(row).service

    def needs_of(self, row: int) -> Sequence[Need]:
        """What others ask of a row."""
        return self._of_row.get(row, ())

    # ------------------------------------------------------------ counts

    def least(self, own: Ints, most: Ints, multiple: Ints) -> Ints:
        """The least counts (n,), none below `own`, that keep all ratios as far as `most` lets each row go (most ≥ own); the very array `own`
        where it keeps them. Rows without a role stay as they are."""
        counts = own
        while len(self._row):
            needed = self.needed(counts, multiple)
            after = counts.copy()
            np.maximum.at(after, self._row, np.minimum(needed, most[self._row]))
            if (after == counts).all():
                break
            counts = after
        return counts

    def needed(self, counts: Ints, multiple: Ints) -> Ints:
        """What each need asks of its row in whole multiples, in the order of `needs`."""
        per = multiple[self._row]
        return (np.ceil(np.ceil(self._factor * counts[self._of]) / per) * per).astype(np.int64)

    @staticmethod
    def asked(need: Need, counts: Ints, multiple: Ints) -> int:
        """The same of one need."""
        per = int(multiple[need.row])
        return math.ceil(math.ceil(need.factor * (1.0 - TOLERANCE) * int(counts[need.of])) / per) * per

    def unkept(self, counts: Ints, multiple: Ints) -> Ints:
        """For each row (n,) how many needs of its service are not met."""
        found: Ints = np.zeros(len(self._specs), dtype=np.int64)
        if len(self.rows):
            here: Ints = np.zeros(len(self._specs), dtype=np.int64)
            np.add.at(here, self._row, self.needed(counts, multiple) > counts[self._row])
            found[self.rows] = np.add.reduceat(here[self.rows], self.starts)[self._service]
        return found

    def bottleneck(self, wished: Floats, ready: Ints) -> Ints:
        """For each row (n,) the row of its service's role that is most in need: the largest wished ÷ ready, the policies' wish (a fraction, before
        any limit; NaN where unknown) over what is ready now. Nothing ready counts as more than anything; of equal ones the larger wish, then the
        first. −1 where no role of the service wishes anything, and for rows without one."""
        found: Ints = np.full(len(self._specs), -1, dtype=np.int64)
        if not len(self.rows):
            return found
        wish = np.nan_to_num(wished[self.rows], nan=0.0)
        there = ready[self.rows]
        pressure = np.where(wish > 0.0, np.divide(wish, there, out=np.full(len(wish), np.inf), where=there > 0), 0.0)
        order = np.lexsort((self.rows, -wish, -pressure, self._service))
        first = order[self.starts]
        found[self.rows] = np.where(wish[first] > 0.0, self.rows[first], -1)[self._service]
        return found


def roles_of(specs: Sequence[ScalingSpec]) -> Roles | None:
    """None where nobody has a role."""
    return Roles(specs) if any(spec.role is not None for spec in specs) else None


def _services(specs: Sequence[ScalingSpec]) -> Iterator[list[int]]:
    """The rows of each service that has roles."""
    found: dict[tuple[str, str], list[int]] = {}
    for row, spec in enumerate(specs):
        if spec.role is not None:
            found.setdefault((spec.namespace, spec.role.service), []).append(row)
    yield from found.values()


def _contradiction(needs: Sequence[Need], members: Sequence[int]) -> list[int] | None:
    """The rows with ratios, where some of them ask for more of each other in a circle; None where they don't."""
    asked = {(need.row, need.of): 0.0 for need in needs}
    for need in needs:
        asked[need.row, need.of] = max(asked[need.row, need.of], need.factor)
    # Floyd and Warshall's way, with the largest product of factors from row to row.
    for middle in members:
        into = [(row, factor) for (row, of), factor in asked.items() if of == middle]
        onward = [(of, factor) for (row, of), factor in asked.items() if row == middle]
        for row, first in into:
            for of, second in onward:
                asked[row, of] = max(asked.get((row, of), 0.0), first * second)
                if row == of and asked[row, of] > 1.0 + _ROUNDING:
                    return sorted({row for need in needs for row in (need.row, need.of)})
    return None
