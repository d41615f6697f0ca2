"""Nodes that go with what runs on them, at once or some time after they were told to, and what that took.

Slots are counted, not placed, so chance says who was on them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from autoscaler.core.model import Floats, Ints
from replay.plant.faults import Fault
from replay.plant.nodes import Pool
from replay.plant.notices import Notice
from replay.plant.starts import Starts

if TYPE_CHECKING:
    from replay.plant.lifecycle import Lifecycle

Kinds = tuple[int, int, int]
"""Replicas that are ready, starting (in a slot), draining."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LossCounts:
    """What losses took. nodes, noticed (P,): lost ones by pool, and of them those that were told to go. replicas, unplaced (n,): those that were lost
    (ready or starting) and are made anew, and of them those for which no ready node had room at that moment. missing_s (n,): replica-seconds, each
    from a ready replica's loss until as many are ready again, or are no longer asked for."""

    nodes: Ints
    noticed: Ints
    replicas: Ints
    unplaced: Ints
    missing_s: Floats

    def since(self, before: LossCounts) -> LossCounts:
        """What came after `before`."""
        return LossCounts(**{one.name: getattr(self, one.name) - getattr(before, one.name) for one in fields(self)})


class Losses:
    """Of a lifecycle's nodes."""

    def __init__(self, life: Lifecycle, starts: Starts) -> None:
        pools, n = len(life.pools), len(life.current)
        self._life = life
        self._starts = starts
        self._nodes, self._noticed = np.zeros(pools, dtype=np.int64), np.zeros(pools, dtype=np.int64)
        self._replicas, self._unplaced = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
        self._owed = [0] * n
        self._missing_s = [0.0] * n

    def plan(self, fault: Fault) -> None:
        """A share of the ready nodes, one at least, of some pools is lost at the fault's beginning, and told so before where there is a notice."""
        life, lost_s = self._life, int(fault.from_s)
        if fault.pool is not None:
            numbers: Sequence[int] = (fault.pool,)
        else:
            numbers = range(len(life.pools)) if fault.row is None else life.pools_of[fault.row]
        if not fault.notice_s:
            life.events.plan(lost_s, self._lose, (numbers, fault.share))
            return
        for number in numbers:
            life.events.plan(max(lost_s - int(fault.notice_s), 0), self._tell, (number, fault.share, lost_s))

    # ------------------------------------------------------------ what happens

    def _tell(self, at_s: int, about: tuple[int, float, int]) -> None:
        number, share, lost_s = about
        life, pool = self._life, self._life.pools[number]
        nodes = _some(share, pool.ready, pool.ready - pool.noticed)
        if not nodes:
            return
        drawn = self._drawn(number, nodes)
        notice = Notice(nodes, {row: life.slots_each[row] for row in drawn})
        for row, (ready, starting, draining) in drawn.items():
            notice.ready[row], notice.draining[row] = ready, draining
            self._starts.told(row, pool, starting, notice)
        pool.notices.append(notice)
        life.orders.changes += 1
        life.events.plan(lost_s, self._lose_noticed, (number, notice))
        life.orders.follow(number, at_s)

    def _lose(self, at_s: int, about: tuple[Sequence[int], float]) -> None:
        numbers, share = about
        anew: dict[int, int] = {}
        lost = []
        for number in numbers:
            pool = self._life.pools[number]
            if nodes := _some(share, pool.ready, pool.ready - pool.noticed):
                self._take(at_s, number, nodes, self._drawn(number, nodes), anew)
                lost.append(number)
        self._make_anew(at_s, lost, anew)

    def _lose_noticed(self, at_s: int, about: tuple[int, Notice]) -> None:
        number, notice = about
        anew: dict[int, int] = {}
        self._take(at_s, number, notice.nodes, {row: notice.kinds(row) for row in notice.slots_each}, anew, notice)
        self._make_anew(at_s, [number], anew)

    def _drawn(self, number: int, nodes: int) -> dict[int, Kinds]:
        """By service those that are on so many nodes of a pool that were not told to go yet."""
        life, pool = self._life, self._life.pools[number]
        rows = life.orders.rows[number]
        kinds = [self._untold(pool, row) for row in rows]
        each = [life.slots_each[row] for row in rows]
        free = (pool.ready - pool.noticed) * pool.slots - sum(sum(here) * size for here, size in zip(kinds, each, strict=True))
        lost = lost_by_service(kinds, each, free, nodes * pool.slots, life.faults.rng)
        return dict(zip(rows, lost, strict=True))

    def _untold(self, pool: Pool, row: int) -> Kinds:
        """A service's replicas on those of a pool's nodes that were not told to go."""
        ready, starting, draining = self._life.on_nodes(row, pool)
        for notice in pool.notices:
            told = notice.kinds(row)
            ready, starting, draining = ready - told[0], starting - told[1], draining - told[2]
        return ready, starting, draining

    def _take(
        self, at_s: int, number: int, nodes: int, lost: dict[int, Kinds], anew: dict[int, int], notice: Notice | None = None
    ) -> None:
        """Nodes go with what is on them. anew: by service, replicas that are to be created; those of here are added."""
        life, pool = self._life, self._life.pools[number]
        pool.lose(nodes, at_s, notice)
        self._add_parts(pool, lost, notice)
        life.orders.changes += 1
        self._nodes[number] += nodes
        self._noticed[number] += 0 if notice is None else nodes
        for row, kinds in lost.items():
            if not any(kinds):
                continue
            life.lose(row, pool, kinds, at_s, notice)
            self._owed[row] += kinds[0]
            if again := kinds[0] + kinds[1]:
                self._replicas[row] += again
                anew[row] = anew.get(row, 0) + again

    def _make_anew(self, at_s: int, numbers: Sequence[int], anew: dict[int, int]) -> None:
        """Replicas that were lost on these pools are created, as a Deployment does. Only once all of them are off the nodes: none is lost twice, no
        node is made for the slots of those who were leaving, and free ones go by priority."""
        life = self._life
        for row in sorted(anew, key=lambda row: -life.priorities[row]):
            self._unplaced[row] += life.create(row, anew[row], at_s)
        for number in numbers:
            life.orders.follow(number, at_s)

    def _add_parts(self, pool: Pool, lost: dict[int, Kinds], notice: Notice | None) -> None:
        """Who counts as being on other nodes that were told to go, but is on the lost ones in part, is lost, too."""
        each = self._life.slots_each
        over = pool.used - sum(sum(kinds) * each[row] for row, kinds in lost.items()) - pool.ready * pool.slots
        for other in pool.notices:
            for row, size in other.slots_each.items():
                while over > 0 and size and other.ready[row] + other.draining[row]:
                    ready, starting, draining = lost.get(row, (0, 0, 0))
                    serves = other.ready[row] > 0
                    (other.ready if serves else other.draining)[row] -= 1
                    lost[row] = ready + serves, starting, draining + (not serves)
                    over -= size
            for cohort in tuple(other.starting):
                if over > 0 and cohort.count and each[cohort.row]:
                    other.starting.remove(cohort)
                    cohort.notice = notice
                    over -= cohort.count * each[cohort.row]
                    ready, starting, draining = lost.get(cohort.row, (0, 0, 0))
                    lost[cohort.row] = ready, starting + cohort.count, draining

    # ------------------------------------------------------------ what it took

    def passed(self, row: int, seconds: int) -> None:
        """For so long nothing has changed for a service."""
        if self._owed[row]:
            self._owed[row] = self._still_owed(row)
            self._missing_s[row] += self._owed[row] * seconds

    def counts(self, passed_s: Sequence[int]) -> LossCounts:
        """From second 0 on. passed_s (n,): for how long nothing has changed for each service."""
        open_s = np.array([self._still_owed(row) * seconds for row, seconds in enumerate(passed_s)], dtype=np.float64)
        return LossCounts(
            nodes=self._nodes.copy(),
            noticed=self._noticed.copy(),
            replicas=self._replicas.copy(),
            unplaced=self._unplaced.copy(),
            missing_s=np.array(self._missing_s) + open_s,
        )

    def _still_owed(self, row: int) -> int:
        missing = self._life.current.item(row) - int(self._life.ready.item(row))
        return max(min(self._owed[row], missing), 0)


def _some(share: float, of: int, most: int) -> int:
    """How many nodes: a share, one at least, of those that are there and not told to go yet."""
    return min(max(round(share * of), 1), most)


def lost_by_service(
    replicas: Sequence[Kinds], slots_each: Sequence[int], free: int, slots: int, rng: np.random.Generator
) -> list[Kinds]:
    """How many replicas of each service and kind were in `slots` slots taken at random out of all used ones and `free` free ones.

    A replica of several slots goes with the rounded share of them that was drawn; what is left always fits the slots that stay."""
    held = np.array(replicas, dtype=np.int64).reshape(-1, 3)
    each = np.array(slots_each, dtype=np.int64)[:, None]
    used = held * each
    drawn = rng.multivariate_hypergeometric([*used.ravel().tolist(), free], slots)[:-1].reshape(used.shape)
    lost = np.minimum(np.rint(drawn / np.maximum(each, 1)).astype(np.int64), held)
    # What rounding left over on the nodes that stay has to go, too: of the service with the most left.
    room = int(used.sum()) + free - slots
    while int(((held - lost) * each).sum()) > room:
        left = (held - lost) * each
        row, kind = np.unravel_index(int(left.argmax()), left.shape)
        lost[row, kind] += 1
    return [(int(ready), int(starting), int(draining)) for ready, starting, draining in lost.tolist()]
