"""The step after the constraints: the roles of a service are sized together (``core.roles``), within what their constraints leave.

It comes last, since each role's own count must be settled before others can be sized by it, and nothing after it changes a count but the
fleet's change budget, which lets a tick go a part of the way to these same counts: it never turns them. Only raised is here, so whatever
keeps a role up (unknown signals, windows, drains) is kept. What limits a raise are the role's own maximum, its rate limit (but from zero),
and a person's word: a pause, ``selectPolicy: Disabled``, a target that was set to 0.

A role whose decision nobody follows (mode Shadow, a target that is not ours to write) counts for the others with the replicas it has. Its
own decision is shown as it would be if all were followed.

Before that, what nobody knows or what was lost lately is taken for no reason to shrink (limit ``RolesHeld``): a role keeps what it has while the
target of another one can't be seen, and for a while after something that others asked of it was lost (``core.role_hold``); and while two
objects have a role, it keeps what these need of it as they run. That raises nobody, so a mistake in one object doesn't move the others.
"""

from __future__ import annotations

import numpy as np

from autoscaler.core.constraints import Constraint, Context, may_not_grow, rate_room
from autoscaler.core.model import UNSEEN, Bools, Ints, SizedRoles
from autoscaler.core.role_needs import Need
from autoscaler.core.roles import Roles
from autoscaler.core.rows import some
from autoscaler.core.sizing import multiples_down, multiples_up

NAME = "Roles"
HELD = "RolesHeld"


class RoleStep:
    """What the step made of one tick's counts. counts: after it; the very array it was given where it changed nothing. steps: what changed
    them, with the counts before and after. lost (n,): who lost what was asked of it lately (None: nobody)."""

    def __init__(self, context: Context, roles: Roles, counts: Ints, lost: Bools | None = None) -> None:
        self._c, self._roles, self._lost = context, roles, lost
        self._counts_on: Bools = roles.counts_on & ~context.fleet.hands_off
        self._unseen = self._unseen_targets()
        self._may_grow: Bools = ~(may_not_grow(context) | roles.never_grows)
        table = context.table
        self._largest: Ints = multiples_down(table.max_replicas, table.multiple)
        self._own = self._held(counts)
        self._rated = False
        self._asked: dict[bool, Ints] = {}
        self._most: Ints = np.maximum(np.where(self._may_grow, self._largest, self._own), self._own)
        self.counts = self._sized()
        if self.counts is not self._own and table.limits_rate:
            self._rated = True
            self._most = np.maximum(np.minimum(self._most, self._rate_limit()), self._own)
            self.counts = self._sized()
        self._bottleneck = roles.bottleneck(context.recommended, context.fleet.ready)
        held = Constraint(HELD, lambda _c: True, lambda _c, _counts: self._own, self._why_held)
        sized = Constraint(NAME, lambda _c: True, lambda _c, _counts: self.counts, self._why)
        changes = [(held, counts, self._own), (sized, self._own, self.counts)]
        self.steps = [step for step in changes if step[1] is not step[2]]

    def said(self) -> SizedRoles:
        return SizedRoles(
            bottleneck=self._bottleneck,
            unkept=self._roles.unkept(self._followed),
            faults=self._roles.fault_words,
            words=self._words,
        )

    # ------------------------------------------------------------ counts

    def _unseen_targets(self) -> dict[int, str]:
        """By row, why nobody knows how many replicas a role has."""
        reasons = {row: why.partition(":")[0] for row, why in self._c.fleet.hands_off_why.items() if row in self._roles.mates}
        return {row: reason for row, reason in reasons.items() if reason in UNSEEN}

    def _held(self, counts: Ints) -> Ints:
        """The counts, but where a role keeps of what it has: whole multiples within its maximum; the very same where none does."""
        table, current = self._c.table, self._c.fleet.current
        keeps = self._roles.loosely(current) if self._roles.loose else table.nothing
        if self._lost is not None:
            keeps = np.where(self._lost, current, keeps)
        if self._unseen:
            keeps = keeps.copy()
            mates = [mate for row in self._unseen for mate in self._roles.mates[row]]
            keeps[mates] = current[mates]
        if not some(keeps > counts):
            return counts
        whole = np.where(self._may_grow, multiples_up(keeps, table.multiple), keeps)
        return np.maximum(counts, np.minimum(whole, self._largest))

    def _rate_limit(self) -> Ints:
        """Rounded up to whole multiples, as those of the constraints are; from zero none, since nobody is served without it."""
        per = self._c.table.multiple
        limit = np.minimum(np.ceil(rate_room(self._c) / per) * per, self._most)
        return np.where(self._c.fleet.current > 0, limit, self._most).astype(np.int64)

    def _sized(self) -> Ints:
        """Sets what the rows count as for those that are followed, and for the others."""
        own, most = self._own, self._most
        self._as_if = self._followed = self._roles.least(own, most)
        if self._counts_on[self._roles.rows].all():
            return self._as_if
        there = self._c.fleet.current
        self._followed = self._roles.least(np.where(self._counts_on, own, there), np.where(self._counts_on, most, there))
        after = np.where(self._counts_on, self._followed, self._as_if)
        return own if (after == own).all() else after

    # ------------------------------------------------------------ words

    def _seen_by(self, row: int) -> tuple[Ints, Ints]:
        """The counts as a row sees them, and what they ask for; worked out once, since words may be asked for of every row."""
        counts_on = bool(self._counts_on[row])
        counts = self._followed if counts_on else self._as_if
        asked = self._asked.get(counts_on)
        if asked is None:
            asked = self._asked[counts_on] = self._roles.asked(counts)
        return counts, asked

    def _why(self, _c: Context, row: int, before: int, after: int) -> str:
        counts, all_asked = self._seen_by(row)
        asked, need = max(self._roles.asked_of(row, all_asked), key=lambda found: found[0])
        more = f" (of {asked} that this asks for: {self._why_no_more(row)})" if asked > after else ""
        return f"{self._need_words(need, counts)}: {after}, not {before}{more}"

    def _why_held(self, _c: Context, row: int, before: int, after: int) -> str:
        roles = self._roles
        unseen = [mate for mate in roles.mates.get(row, ()) if mate in self._unseen]
        if unseen:
            names = " and ".join(f"{roles.name(mate)} ({self._unseen[mate]})" for mate in unseen)
            why = f"how many replicas of {names} service '{roles.service(row)}' has is not known: no scale-down to {before} meanwhile"
        elif self._lost is not None and self._lost[row]:
            why = (
                f"what another role of service '{roles.service(row)}' asks of it was lost or changed (an object that left, a second one of the "
                f"same role, a fault, other ratios): no scale-down to {before} within {roles.hold_s[row]:.0f} s"
            )
        else:
            why = (
                f"a role of service '{roles.service(row)}' is in two objects, and what runs of it counts until only one has it: "
                f"no scale-down to {before}"
            )
        return f"{why}, {after} stay"

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
            if row in self._roles.apart:
                return "its multiples and ratios rarely meet"
            if self._roles.never_grows[row]:
                return "growing is disabled in its behavior"
            if not self._may_grow[row]:
                return "it may not grow: paused, or its target was set to 0"
            if self._rated and self._most[row] < self._largest[row]:
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
        roles = self._roles
        counts, all_asked = self._seen_by(row)
        said = [words for words in (roles.fault_words.get(row), roles.apart.get(row)) if words]
        members = roles.members.get(row, ())
        neediest = int(self._bottleneck[row])
        if neediest >= 0:
            wish, ready = float(self._c.recommended[neediest]), int(self._c.fleet.ready[neediest])
            said.append(
                f"the bottleneck of service '{roles.service(row)}' is {roles.name(neediest)}: {wish:.3g} wished, {ready} ready"
            )
        for one in members:
            for asked, need in roles.asked_of(one, all_asked):
                if asked > counts[one] and (need.ratio is None or one not in roles.apart):
                    words = self._need_words(need, counts)
                    said.append(
                        f"{words}: that asks for {asked} {roles.name(one)}, {int(counts[one])} it is: {self._why_no_more(one)}"
                    )
        if self._counts_on[row]:
            said += [
                f"how many {roles.name(one)} there are is not known: {self._unseen[one]}"
                if one in self._unseen
                else f"{roles.name(one)} counts as the {int(counts[one])} it has: {self._not_followed(one)}"
                for one in members
                if not self._counts_on[one]
            ]
        return "; ".join(said)
