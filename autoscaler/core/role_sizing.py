"""The step after the constraints: the roles of a service are sized together (``core.roles``), within what their constraints leave.

It comes last, since each role's own count must be settled before others can be sized by it, and nothing after it changes a count but the
fleet's change budget, which lets a tick go a part of the way to these same counts: it never turns them. Only raised is here, so whatever
keeps a role up (unknown signals, windows, drains) is kept. What limits a raise are the role's own maximum, its rate limit (but from zero),
and a person's word: a pause, ``selectPolicy: Disabled``, a target that was set to 0.

A role whose decision nobody follows (mode Shadow, a target that is not ours to write) counts for the others with the replicas it has. Its
own decision is shown as it would be if all were followed.
"""

from __future__ import annotations

import numpy as np

from autoscaler.core.constraints import Constraint, Context, may_not_grow, rate_room
from autoscaler.core.model import Bools, Ints, SizedRoles
from autoscaler.core.roles import Need, Roles

NAME = "Roles"


class RoleStep:
    """What the step made of one tick's counts. counts: after it; the very array it was given where it changed nothing."""

    def __init__(self, context: Context, roles: Roles, counts: Ints) -> None:
        self._c, self._roles, self.before = context, roles, counts
        self._counts_on: Bools = roles.counts_on & ~context.fleet.hands_off
        self._rated = False
        self._most = self._room(counts)
        self.counts = self._sized()
        if self.counts is not counts and context.table.limits_rate:
            self._rated = True
            self._most = np.maximum(np.minimum(self._most, self._rate_limit()), counts)
            self.counts = self._sized()
        self._bottleneck = roles.bottleneck(context.recommended, context.fleet.ready)
        self.constraint = Constraint(NAME, lambda _c: True, lambda _c, _counts: self.counts, self._why)

    def said(self) -> SizedRoles:
        return SizedRoles(
            bottleneck=self._bottleneck,
            unkept=self._roles.unkept(self._followed),
            faults=self._roles.fault_words,
            words=self._words,
        )

    # ------------------------------------------------------------ counts

    def _room(self, counts: Ints) -> Ints:
        """The most that each row may be raised to, but for rates."""
        table = self._c.table
        most = table.max_replicas // table.multiple * table.multiple
        return np.maximum(np.where(may_not_grow(self._c) | self._roles.never_grows, counts, most), counts)

    def _rate_limit(self) -> Ints:
        """Rounded up to whole multiples, as those of the constraints are; from zero none, since nobody is served without it."""
        per = self._c.table.multiple
        limit = np.minimum(np.ceil(rate_room(self._c) / per) * per, self._most)
        return np.where(self._c.fleet.current > 0, limit, self._most).astype(np.int64)

    def _sized(self) -> Ints:
        """Sets what the rows count as for those that are followed, and for the others."""
        own, most = self.before, self._most
        self._as_if = self._followed = self._roles.least(own, most)
        if self._counts_on[self._roles.rows].all():
            return self._as_if
        there = self._c.fleet.current
        self._followed = self._roles.least(np.where(self._counts_on, own, there), np.where(self._counts_on, most, there))
        after = np.where(self._counts_on, self._followed, self._as_if)
        return own if (after == own).all() else after

    # ------------------------------------------------------------ words

    def _seen_by(self, row: int) -> Ints:
        return self._followed if self._counts_on[row] else self._as_if

    def _why(self, _c: Context, row: int, before: int, after: int) -> str:
        counts = self._seen_by(row)
        asked, need = max(((self._asked(need, counts), need) for need in self._roles.needs_of(row)), key=lambda found: found[0])
        more = f" (of {asked} that this asks for: {self._why_no_more(row)})" if asked > after else ""
        return f"{self._need_words(need, counts)}: {after}, not {before}{more}"

    def _asked(self, need: Need, counts: Ints) -> int:
        return self._roles.asked(need, counts)

    def _need_words(self, need: Need, counts: Ints) -> str:
        roles = self._roles
        one, other, service = roles.name(need.row), roles.name(need.of), roles.service(need.row)
        there = int(counts[need.of])
        if need.ratio is None:
            return f"{other} of service '{service}' runs, and its roles run and rest together"
        if not need.is_max:
            return f"service '{service}' has at least {need.ratio.min:g} {one} to each {other}, of which there are {there}"
        return f"service '{service}' has at most {need.ratio.max:g} {other} to each {one}, and there are {there} {other}"

    def _why_no_more(self, row: int) -> str:
        c = self._c
        if self._counts_on[row]:
            if may_not_grow(c)[row]:
                return "it may not grow: paused, or its target was set to 0"
            if self._roles.never_grows[row]:
                return "growing is disabled in its behavior"
            if self._rated and self._most[row] < c.table.max_replicas[row] // c.table.multiple[row] * c.table.multiple[row]:
                return f"its rate limit allows {int(self._most[row])} now"
            return f"its maxReplicas is {int(c.table.max_replicas[row])}"
        return self._not_followed(row)

    def _not_followed(self, row: int) -> str:
        fleet = self._c.fleet
        if fleet.hands_off[row]:
            return fleet.hands_off_why.get(row, "").partition(":")[0] or "its target is not ours to write"
        return f"mode {self._c.table.specs[row].mode}"

    def _words(self, row: int) -> str:
        """The bottleneck, the ratios that aren't kept, and who doesn't follow, as one role sees it."""
        roles, counts = self._roles, self._seen_by(row)
        said = [roles.fault_words[row]] if row in roles.fault_words else []
        members = roles.members.get(row, ())
        neediest = int(self._bottleneck[row])
        if neediest >= 0:
            wish, ready = float(self._c.recommended[neediest]), int(self._c.fleet.ready[neediest])
            said.append(
                f"the bottleneck of service '{roles.service(row)}' is {roles.name(neediest)}: {wish:.3g} wished, {ready} ready"
            )
        for one in members:
            for need in roles.needs_of(one):
                if (asked := self._asked(need, counts)) > counts[one]:
                    words = self._need_words(need, counts)
                    said.append(
                        f"{words}: that asks for {asked} {roles.name(one)}, {int(counts[one])} it is: {self._why_no_more(one)}"
                    )
        if self._counts_on[row]:
            said += [
                f"{roles.name(one)} counts as the {int(counts[one])} it has: {self._not_followed(one)}"
                for one in members
                if not self._counts_on[one]
            ]
        return "; ".join(said)
