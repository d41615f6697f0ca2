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

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from autoscaler.core.model import Bools, Floats, Ints, Role, ScalingSpec
from autoscaler.core.role_needs import Need, NeedColumns, contradiction, needs_of_ratio
from autoscaler.core.sizing import ROUNDING, multiples_down, multiples_up

MOST_ROLES: Final = 32
"""Of one service; more would cost everybody's tick."""
ROUNDS: Final = 128
"""More than any sensible ratios take (each passes what is needed on by one role). It bounds what odd ones may cost everybody's tick."""
MANY: Final = 4
"""Times as many replicas as ratios ask for in fractions are worth a warning."""
HOLDS_S: Final = 300.0
"""As long as HPA's own window for shrinking."""
LARGEST: Final = 10**9
"""More than any number of replicas."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleFault:
    """What is wrong with a role. field: of ``spec.role``. passing: it may be right as soon as another object is there."""

    words: str
    field: str
    passing: bool = False


class Roles:
    """The services of a fleet that have several roles, compiled from its specs.

    members: rows of each service, in the fleet's order, by each of its rows; only those that are sized together. rows, starts: all of them,
    service by service, and where each service begins. mates: by row, the members and those whose role another object has as well.
    counts_on (n,): where the decision counts for others (Shadow's does not). never_grows (n,): behavior forbids it. hold_s (n,): how long
    it keeps what it has after something asked of it was lost (``core.role_hold``). faults, fault_words: by row.
    needs: what the members ask of each other. loose: what is asked of or by those whose role another object has as well, which raises nobody.
    apart: rows of services whose ratios and multiples rarely meet (``MANY``), with the words for it.
    """

    def __init__(self, specs: Sequence[ScalingSpec]) -> None:
        self._specs = specs
        self.faults: dict[int, list[RoleFault]] = {}
        self.members: dict[int, tuple[int, ...]] = {}
        self.mates: dict[int, tuple[int, ...]] = {}
        self.needs: list[Need] = []
        self.loose: list[Need] = []
        self.apart: dict[int, str] = {}
        self._of_row: dict[int, list[int]] = {}
        for group in _services(specs):
            members, twice = self._one_each(group)
            mates = tuple(sorted([*members, *twice]))
            self.mates.update(dict.fromkeys(mates, mates))
            if twice and len(mates) <= MOST_ROLES:
                self.loose += self._loose_needs(mates, twice)
            if len(members) < 2:
                self._alone(members)
                continue
            self.members.update(dict.fromkeys(members, tuple(members)))
            self._take(list(self._ratio_needs(members)), members)
        for place, need in enumerate(self.needs):
            self._of_row.setdefault(need.row, []).append(place)
        self.multiple: Ints = np.array([spec.replica_multiple for spec in specs], dtype=np.int64)
        self._needs = NeedColumns(self.needs, self.multiple)
        self._loose = NeedColumns(self.loose, self.multiple)
        self.fault_words = {row: "; ".join(fault.words for fault in found) for row, found in self.faults.items()}
        distinct = list(dict.fromkeys(self.members.values()))
        self.rows: Ints = np.array([row for rows in distinct for row in rows], dtype=np.int64)
        self.starts: Ints = np.cumsum([0, *map(len, distinct)], dtype=np.int64)[:-1]
        self._service: Ints = np.repeat(np.arange(len(distinct)), [len(rows) for rows in distinct])
        self.counts_on: Bools = np.array([spec.mode != "Shadow" for spec in specs], dtype=np.bool_)
        self.never_grows: Bools = np.array([spec.scale_up.select == "Disabled" for spec in specs], dtype=np.bool_)
        self.hold_s: Floats = np.array([max(spec.scale_down.stabilization_s, HOLDS_S) for spec in specs])
        self._is_exact: Bools = np.ones(len(self.needs), dtype=np.bool_)
        self.apart = self._rarely_met()
        self._is_exact = np.array([need.ratio is None or need.row not in self.apart for need in self.needs], dtype=np.bool_)

    # ------------------------------------------------------------ who belongs together

    def _one_each(self, group: Sequence[int]) -> tuple[list[int], list[int]]:
        """The rows of a service that are sized together, one for each role; and those whose role another object has as well."""
        named: dict[str, list[int]] = {}
        for row in group:
            named.setdefault(self.name(row), []).append(row)
        members: list[int] = []
        twice: list[int] = []
        for name, rows in named.items():
            # A Shadow beside an object that acts is a trial of it, and must not put it out of its place.
            real = [row for row in rows if self._specs[row].mode != "Shadow"] or rows
            for row in rows:
                others = [self._specs[other].key for other in real if other != row]
                if others:
                    words = f"service '{self.service(row)}' has role '{name}' twice, also as {', '.join(others)}: sized alone"
                    self._note(row, RoleFault(words=words, field="name"))
            (members if len(real) == 1 else twice).extend(real)
        if len(members) > MOST_ROLES:
            words = f"service '{self.service(group[0])}' has {len(members)} roles, at most {MOST_ROLES} are sized together: sized alone"
            for row in members:
                self._note(row, RoleFault(words=words, field="service"))
            return [], twice
        return sorted(members), twice

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
                yield from needs_of_ratio(row, to, ratio)
            if missing:
                others = ", ".join(name for name in row_of if name != self.name(row))
                words = f"service '{self.service(row)}' has no other role {' and '.join(missing)} (there is {others}): that ratio does not count"
                self._note(row, RoleFault(words=words, field="ratios"))

    def _take(self, needs: Sequence[Need], members: Sequence[int]) -> None:
        """The needs of one service, but for ratios that contradict each other."""
        if (cycle := contradiction(needs, members)) is not None:
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

    def _loose_needs(self, mates: Sequence[int], twice: Sequence[int]) -> Iterator[Need]:
        for row in mates:
            ratios = {ratio.to: ratio for ratio in self._role(row).ratios}
            for to in mates:
                if self.name(to) != self.name(row) and (row in twice or to in twice):
                    yield Need(row=row, of=to)
                    if (ratio := ratios.get(self.name(to))) is not None:
                        yield from needs_of_ratio(row, to, ratio)

    def _note(self, row: int, fault: RoleFault) -> None:
        self.faults.setdefault(row, []).append(fault)

    def doubts(self, row: int) -> str:
        """What the owner of a row should know of its ratios: that they can't be kept within the roles' bounds, or, since multiples have to
        meet, only by many more replicas than they say; or that it never sleeps. "" where there is nothing to say."""
        if row not in self.members:
            return ""
        return "; ".join(filter(None, (self.apart.get(row) or self._out_of_reach(row), self._kept_awake(row))))

    def _out_of_reach(self, row: int) -> str:
        counts = self._fewest_within_bounds
        for asked, _ in self.asked_of(row, self.asked(counts)):
            if asked > counts[row]:
                fewest = self._counts_words(row, counts)
                return f"its ratios can't be kept: of {fewest}, the fewest that come near, {asked} {self.name(row)} are asked for"
        return ""

    def _kept_awake(self, row: int) -> str:
        spec = self._specs[row]
        awake = [other for other in self.members[row] if self._specs[other].lowest_min > 0]
        if spec.lowest_min > 0 or not awake:
            return ""
        names = " and ".join(f"{self.name(other)} never goes below {self._specs[other].lowest_min}" for other in awake)
        return f"its minReplicas is 0, but it never goes to zero: the roles of a service run and rest together, and {names}"

    def _rarely_met(self) -> dict[int, str]:
        """By row, words for the services whose ratios and multiples are only kept together by many more replicas than the ratios say."""
        if (self.multiple[self.rows] == 1).all():
            return {}
        counts = self._fewest(np.full(len(self._specs), LARGEST, dtype=np.int64))
        fractions: Floats = self._least_whole.astype(np.float64)
        for _ in range(MOST_ROLES):
            np.maximum.at(fractions, self._needs.row, self._needs.factor * fractions[self._needs.of])
        far = set(np.flatnonzero(counts > MANY * fractions + self.multiple).tolist())
        return {
            row: f"its ratios and multiples are only kept by {self._counts_words(row, counts)} or more, so each role is rounded by itself: "
            "a wider band keeps them with fewer"
            for row in self.members
            if far.intersection(self.members[row])
        }

    def _counts_words(self, row: int, counts: Ints) -> str:
        return ", ".join(f"{int(counts[one])} {self.name(one)}" for one in self.members[row])

    @cached_property
    def _least_whole(self) -> Ints:
        """The fewest replicas with which all roles run, without ratios."""
        least: Ints = np.array([max(spec.min_replicas, 1) for spec in self._specs], dtype=np.int64)
        return multiples_up(least, self.multiple)

    @cached_property
    def _fewest_within_bounds(self) -> Ints:
        most: Ints = np.array([spec.max_replicas for spec in self._specs], dtype=np.int64)
        return self._fewest(multiples_down(most, self.multiple))

    def _fewest(self, most: Ints) -> Ints:
        """The fewest replicas with which all roles run, as far as `most` goes."""
        return self.least(self._least_whole, np.maximum(most, self._least_whole))

    def _role(self, row: int) -> Role:
        role = self._specs[row].role
        assert role is not None
        return role

    def name(self, row: int) -> str:
        return self._role(row).name

    def service(self, row: int) -> str:
        return self._role(row).service

    def has_role(self, row: int) -> bool:
        return self._specs[row].role is not None

    def asked(self, counts: Ints) -> Ints:
        """What each need asks for, where the rows have these counts; in the order of `needs`."""
        return self._needs.asked(counts)

    def asked_of(self, row: int, asked: Ints) -> list[tuple[int, Need]]:
        """What others ask of a row, of what all needs ask for."""
        return [(int(asked[place]), self.needs[place]) for place in self._of_row.get(row, ())]

    def asks_of(self, row: int) -> frozenset[object]:
        """What others ask of a row, to be compared with that of other specs; nothing for −1, no row."""
        needs = [self.needs[place] for place in self._of_row.get(row, ())]
        others = {(self._specs[need.of].key, self._specs[need.of].target) for need in needs}
        ratios = {
            (self._specs[need.of].key, need.factor, need.is_max, row in self.apart) for need in needs if need.ratio is not None
        }
        return frozenset(others | ratios)

    # ------------------------------------------------------------ counts

    def least(self, own: Ints, most: Ints) -> Ints:
        """The least counts (n,), none below `own`, that keep all ratios as far as `most` lets each row go (most ≥ own); the very array `own`
        where it keeps them. Rows without a role stay as they are. Ratios of `apart` are kept in fractions, of which each role is rounded up."""
        counts = self._in_fractions(own, most) if self.apart else own
        for _ in range(ROUNDS if self.needs else 0):
            after = counts.copy()
            asked = np.where(self._is_exact, self._needs.asked(counts), 0)
            np.maximum.at(after, self._needs.row, np.minimum(asked, most[self._needs.row]))
            if (after == counts).all():
                break
            counts = after
        return counts

    def _in_fractions(self, own: Ints, most: Ints) -> Ints:
        needs = self._needs
        factor = np.where(self._is_exact, 0.0, needs.factor)
        fractions: Floats = own.astype(np.float64)
        for _ in range(MOST_ROLES):
            before = fractions.copy()
            np.maximum.at(fractions, needs.row, np.minimum(factor * before[needs.of], most[needs.row]))
            if (fractions == before).all():
                break
        whole = np.ceil(fractions / self.multiple * (1.0 - ROUNDING)).astype(np.int64) * self.multiple
        raised: Ints = np.where(fractions > own, np.maximum(np.minimum(whole, most), own), own)
        return own if (raised == own).all() else raised

    def loosely(self, current: Ints) -> Ints:
        """What rows (n,) keep of what they have where a role is in two objects: what these need, and are needed for, as they run now."""
        kept: Ints = np.zeros(len(self._specs), dtype=np.int64)
        if self.loose:
            np.maximum.at(kept, self._loose.row, np.minimum(self._loose.asked(current), current[self._loose.row]))
        return kept

    def unkept(self, counts: Ints) -> Ints:
        """For each row (n,) how many needs of its service are not met; not those of `apart`, which nobody tries to keep in whole replicas."""
        found: Ints = np.zeros(len(self._specs), dtype=np.int64)
        if len(self.rows):
            here: Ints = np.zeros(len(self._specs), dtype=np.int64)
            np.add.at(here, self._needs.row, self._is_exact & (self._needs.asked(counts) > counts[self._needs.row]))
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
