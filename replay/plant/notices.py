"""Nodes that were told to go: nothing new starts on them, and what is there goes on until they are lost.

Slots are counted, not placed, so chance says who is on them when they are told. Who finishes meanwhile is taken to be on other nodes, as long as
there are any.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from replay.plant.nodes import Cohort


@dataclass(slots=True, eq=False)
class Notice:
    """Nodes of one pool that go together. slots_each: slots of a replica, by service. ready, draining: replicas on them, by service. starting:
    cohorts that began there."""

    nodes: int
    slots_each: Mapping[int, int]
    ready: dict[int, int] = field(default_factory=dict)
    draining: dict[int, int] = field(default_factory=dict)
    starting: list[Cohort] = field(default_factory=list)

    @property
    def used(self) -> int:
        """Slots that are taken on these nodes."""
        return sum(sum(self.kinds(row)) * each for row, each in self.slots_each.items())

    def kinds(self, row: int) -> tuple[int, int, int]:
        """A service's replicas there that are ready, starting, draining."""
        return self.ready[row], sum(cohort.count for cohort in self.starting if cohort.row == row), self.draining[row]

    def ended(self, cohort: Cohort, ready: int, again: Cohort | None) -> None:
        """A start on these nodes has ended: so many are ready, and the rest, if any, begins anew in the same place."""
        self.ready[cohort.row] += ready
        self.starting.remove(cohort)
        if again is not None:
            again.notice = self
            self.starting.append(again)


def keep_within(notices: Sequence[Notice], row: int, ready: int, draining: int) -> None:
    """Of a service's replicas no more are on such nodes than there are at all: who begins to drain, or is gone, is one of these only where no other
    is left."""
    over = sum(notice.ready[row] for notice in notices) - ready
    for notice in reversed(notices):
        leave = min(max(over, 0), notice.ready[row])
        notice.ready[row] -= leave
        notice.draining[row] += leave
        over -= leave
    over = sum(notice.draining[row] for notice in notices) - draining
    for notice in reversed(notices):
        gone = min(max(over, 0), notice.draining[row])
        notice.draining[row] -= gone
        over -= gone
