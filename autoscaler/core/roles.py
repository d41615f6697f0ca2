"""Roles of one service, such as prefill and decode: who belongs together, and the least counts that keep their ratios. Pure.

A role is an object of its own; objects of one namespace whose roles name the same service are *sized together*. A ratio bounds a role's
replicas by another's, both bounds rounded up to whole replicas: with 3 decode, ``prefill ÷ decode ≥ 0.25`` asks for 1 prefill, and ``≤ 0.5``
allows 2. So each bound says how many of one role the other needs: a *min* how many prefill the decode need, a *max* how
many decode there must be for the prefill to be allowed. And the roles of a service are awake together: where one runs, each of the others
needs one. All that is asked is of one kind, *this role's count ≥ a rising function of that one's*, and the answer is the least fixed point
above the roles' own counts: whole multiples, each at least its own, all ratios kept.

What follows from that:

- Nobody is ever given fewer than its own count, and more of a role's own is never fewer of any (the operator is monotone).
- Were there counts within the upper bounds that keep all ratios and take nothing from any role's own, they would be at least the fixed
  point, so the fixed point would lie within the bounds, too. Where it doesn't, holding a role back could only mend one ratio by breaking
  another, or by taking what a role needs for its own demand: nobody is held back, each goes as far as its bounds let it, and the ratio that
  isn't kept is told.
- It is reached soon. Since both bounds are rounded up, what a *min* raised is allowed by the *max* beside it: without multiples, rounding asks
  for nothing more, and a narrow band, even a point, costs no replica beyond it. Where multiples and a narrow band rarely meet, ``doubts`` says
  so. Bounds that contradict each other in a circle, which would grow for ever, are found beforehand and do not count.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from autoscaler.core.model import Bools, Floats, Ints, Ratio, Role, ScalingSpec

MOST_ROLES: Final = 32
"""Of one service; more would cost everybody's tick."""
ROUNDS: Final = 128
"""More than any sensible ratios take (each passes what is needed on by one role). It bounds what odd ones may cost everybody's tick."""
MANY: Final = 4
"""Times as many replicas as ratios ask for in fractions are worth a warning."""
_ROUNDING: Final = 1e-9
"""Float noise about a whole number, as a share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """Row `row` needs some for what row `of` has: at least `factor` × its count, or, of a max, more than `factor` × (its count − 1); in any case
    one. ratio: where that stands; None: being awake together (factor 0)."""

    row: int
    of: int
    factor: float = 0.0
    is_max: bool = False
    ratio: Ratio | None = None


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
        self._factor: Floats = np.array([need.factor for need in self.needs])
        self._is_max: Bools = np.array([need.is_max for need in self.needs], dtype=np.bool_)
        self.multiple: Ints = np.array([spec.replica_multiple for spec in specs], dtype=np.int64)
        self._per: Ints = self.multiple[self._row]
        self._last: Ints = self._is_max.astype(np.int64)
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
                    yield Need(row=to, of=row, factor=1.0 / ratio.max, is_max=True, ratio=ratio)
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
        self.needs += [*needs, *(Need(row=one, of=other) for one, other in pairs)]

    def _note(self, row: int, fault: RoleFault) -> None:
        self.faults.setdefault(row, []).append(fault)

    def doubts(self, row: int) -> str:
        """What the owner of a row should know of its ratios: that they can't be kept within the roles' bounds, or, since multiples have to
        meet, only by many more replicas than they say; "" where there is nothing to say."""
        if row not in self.members:
            return ""
        counts, fractions = self._fewest
        fewest = ", ".join(f"{int(counts[one])} {self.name(one)}" for one in self.members[row])
        for need in self.needs_of(row):
            if (asked := self.asked(need, counts)) > counts[row]:
                return f"its ratios can't be kept: of {fewest}, the fewest that come near, {asked} {self.name(row)} are asked for"
        if counts[row] > MANY * fractions[row] + self.multiple[row]:
            return f"its ratios and multiples are only kept by {fewest} or more: a wider band costs less"
        return ""

    @cached_property
    def _fewest(self) -> tuple[Ints, Floats]:
        """The fewest replicas with which all roles run, as far as their bounds go; and the same in fractions, without bounds."""
        most: Ints = np.array([spec.max_replicas for spec in self._specs], dtype=np.int64) // self.multiple * self.multiple
        least: Ints = np.array([max(spec.min_replicas, 1) for spec in self._specs], dtype=np.int64)
        least = -(-least // self.multiple) * self.multiple
        fractions: Floats = least.astype(np.float64)
        for _ in range(MOST_ROLES):
            np.maximum.at(fractions, self._row, self._factor * fractions[self._of])
        return self.least(least, np.maximum(most, least)), fractions

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

    def least(self, own: Ints, most: Ints) -> Ints:
        """The least counts (n,), none below `own`, that keep all ratios as far as `most` lets each row go (most ≥ own); the very array `own`
        where it keeps them. Rows without a role stay as they are."""
        counts = own
        for _ in range(ROUNDS if self.needs else 0):
            after = counts.copy()
            np.maximum.at(after, self._row, np.minimum(self.needed(counts), most[self._row]))
            if (after == counts).all():
                break
            counts = after
        return counts

    def needed(self, counts: Ints) -> Ints:
        """What each need asks of its row in whole multiples, in the order of `needs`."""
        there = counts[self._of]
        share = self._factor * (there - self._last)
        least = np.where(self._is_max, np.floor(share * (1.0 + _ROUNDING)) + 1.0, np.ceil(share * (1.0 - _ROUNDING)))
        return (np.ceil(np.where(there > 0, np.maximum(least, 1.0), 0.0) / self._per) * self._per).astype(np.int64)

    def asked(self, need: Need, counts: Ints) -> int:
        """The same of one need."""
        there, per = int(counts[need.of]), int(self.multiple[need.row])
        share = need.factor * (there - need.is_max)
        least = math.floor(share * (1.0 + _ROUNDING)) + 1 if need.is_max else math.ceil(share * (1.0 - _ROUNDING))
        return math.ceil(max(least, 1) / per) * per if there > 0 else 0

    def unkept(self, counts: Ints) -> Ints:
        """For each row (n,) how many needs of its service are not met."""
        found: Ints = np.zeros(len(self._specs), dtype=np.int64)
        if len(self.rows):
            here: Ints = np.zeros(len(self._specs), dtype=np.int64)
            np.add.at(here, self._row, self.needed(counts) > counts[self._row])
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
