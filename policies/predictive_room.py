"""What ``predictive`` keeps nodes for: the demand when a replica would serve on a node that is ordered now.

A replica that finds no node waits for one before it starts. So what nodes are needed for is foretold one lead time of a node further ahead than
what replicas are needed for, by a forecast of its own that learns from its own misses. Its middle says how many replicas will as likely as not
be ordered when the node is there, with the margin that the promise asks for now. Only services on pools have one; to others it costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from autoscaler.core.columns import floats, plain, rearranged
from autoscaler.core.model import Bools, Floats, Ints, Observation
from policies.forecasters.installed import forecasters
from policies.forecasters.outlook import Outlook
from policies.predictive_memory import of_outlook, put_back, text_of

SPREADS_RATIO: Final = 0.5
"""Of the parameter `room`: errors are larger so far ahead, and a node that comes in vain costs more than a wait that is seldom."""
_NOBODY: Final = np.empty(0, dtype=np.int64)


class Room:
    """Of the m services on pools, out of n. rows (m,): which of the n they are. demand (m,): what nodes are to be there for, requests/s; NaN
    where nobody can tell."""

    def __init__(self, window_s: float) -> None:
        self.outlook = Outlook(0, forecasters(), window_s)
        self.rows: Ints = _NOBODY
        self.demand: Floats = np.empty(0)
        self._pooled: Bools | None = None
        self._given_s: Floats | None = None
        self._ahead_s = self._allowed_s = np.empty(0)

    def __bool__(self) -> bool:
        """Whether there is any service on a pool."""
        return bool(len(self.rows))

    # ------------------------------------------------------------ learning

    def observe(self, observation: Observation, rates: Floats, floors: Floats, ahead_s: Floats, allowed_s: Floats) -> None:
        """As ``Outlook.observe``, of all n services; ahead_s (n,): for replicas."""
        if observation.pooled is not self._pooled:
            self._pooled = observation.pooled
            self._follow(_NOBODY if self._pooled is None else np.flatnonzero(self._pooled))
        if not self:
            return
        if allowed_s is not self._given_s:
            self._given_s, self._allowed_s = allowed_s, allowed_s[self.rows]
        further_s = ahead_s[self.rows] + observation.node_lead_time_s[self.rows]
        if not np.array_equal(further_s, self._ahead_s):
            self._ahead_s = further_s
        self.outlook.observe(
            observation.at_s, observation.interval_s, rates[self.rows], floors[self.rows], self._ahead_s, self._allowed_s
        )

    def middle(self, n: int) -> Floats:
        """The log of the demand (n,) that is as likely as not so far ahead; NaN where nobody tells."""
        found = np.full(n, np.nan)
        found[self.rows] = self.outlook.centre
        return found

    def foretell(self, margin: Floats, spreads: Floats, highest_log: Floats, furthest_log: Floats) -> None:
        """What demand is taken to be from now on: the forecast's middle and on top, in logs, what replicas will be ordered for then as well
        (margin), of which no more is believed than highest_log, or half of so many spreads, up to furthest_log, whichever is more; (n,) each."""
        rows, outlook = self.rows, self.outlook
        likely = np.minimum(outlook.centre + margin[rows], highest_log[rows])
        asked = np.minimum(outlook.centre + SPREADS_RATIO * spreads[rows] * outlook.spread, furthest_log[rows])
        self.demand = np.exp(np.fmax(likely, asked))

    def replicas(self, elsewhere: Floats, own_per_s: Floats) -> Floats:
        """Replicas (n,) that nodes are to be there for; of services on no pool those given. own_per_s (n,): of one replica."""
        if not self:
            return elsewhere
        found = elsewhere.copy()
        found[self.rows] = self.demand / own_per_s[self.rows]
        return found

    # ------------------------------------------------------------ which services

    def _follow(self, rows: Ints) -> None:
        """From now on it is of these rows (m,), rising; those that it knows keep what it has learnt of them."""
        if np.array_equal(rows, self.rows):
            return
        place = np.searchsorted(self.rows, rows)
        known = place < len(self.rows)
        known[known] = self.rows[place[known]] == rows[known]
        self._move(rows, np.where(known, place, -1))

    def _move(self, rows: Ints, moved: Ints) -> None:
        """Row i is row moved[i] of those before, or a new one where that is −1."""
        self.outlook.rearrange(moved)
        self.demand = rearranged(self.demand, moved)
        self.rows, self._given_s, self._ahead_s = rows, None, np.empty(0)

    # ------------------------------------------------------------ what survives

    def remember(self, row: int, after: int) -> str:
        """As ``Predictive.remember`` of one of the n services; "" where fewer than `after` forecasts have taught it, or it is on no pool."""
        place = int(np.searchsorted(self.rows, row))
        if place == len(self.rows) or self.rows[place] != row or self.outlook.spreads.seen[place] < after:
            return ""
        return text_of(of_outlook(self.outlook), place, self.outlook.names)

    def recall(self, row: int, text: str, services: int) -> None:
        """What ``remember`` gave goes back into that service. services: n. After a start thousands come one by one, before anybody tells which of
        them are on pools: all get a row at once, and ``observe`` keeps those that are."""
        place = int(np.searchsorted(self.rows, row))
        if place == len(self.rows) or self.rows[place] != row:
            self._follow(np.arange(services))
            self._pooled, place = None, row
        if put_back(of_outlook(self.outlook), place, self.outlook.names, text):
            self.outlook.tell_anew(place)

    def rearrange(self, rows: Ints) -> None:
        """As ``Policy.rearrange``; rows (n,)."""
        place = np.full(int(rows.max(initial=-1)) + 1, -1, dtype=np.int64)
        known = self.rows[self.rows < len(place)]
        place[known] = np.arange(len(known))
        moved = rearranged(place, rows, -1)
        kept = np.flatnonzero(moved >= 0)
        self._move(kept, moved[kept])
        self._pooled = None

    def adopt(self, other: Room, rows: Ints) -> None:
        """Row i of the n takes over what `other` has learnt of its row rows[i]; rows of −1 keep their own."""
        if not other:
            return
        place = np.full(int(max(rows.max(initial=-1), other.rows[-1])) + 1, -1, dtype=np.int64)
        place[other.rows] = np.arange(len(other.rows))
        theirs = rearranged(place, rows, -1)
        self._follow(np.union1d(self.rows, np.flatnonzero(theirs >= 0)))
        taken = theirs[self.rows]
        self.outlook.adopt(other.outlook, taken)
        self.demand[taken >= 0] = other.demand[taken[taken >= 0]]
        self._given_s = self._pooled = None

    def shift(self, by_s: float) -> None:
        """The clock was set by `by_s`."""
        self.outlook.shift(by_s)

    def save(self) -> dict[str, Any]:
        return {"rows": self.rows.tolist(), "outlook": self.outlook.save(), "demand": plain(self.demand)}

    def load(self, state: Mapping[str, Any]) -> None:
        """Raises ValueError, KeyError or TypeError for a state that it can't use."""
        self._follow(np.array(state["rows"], dtype=np.int64))
        self.outlook.load(state["outlook"])
        self.demand = floats(state["demand"])
