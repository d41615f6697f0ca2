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
    """Nodes of one pool that go together. slots_each: slots of a replica, by service. serving: replicas on them that are ready or draining, by
    service. starting: cohorts that begun there."""

    nodes: int
    slots_each: Mapping[int, int]
    serving: dict[int, int] = field(default_factory=dict)
    starting: list[Cohort] = field(default_factory=list)

    @property
    def used(self) -> int:
        """Slots that are taken on these nodes."""
        serving = sum(replicas * self.slots_each[row] for row, replicas in self.serving.items())
        return serving + sum(cohort.count * self.slots_each[cohort.row] for cohort in self.starting)

    def starts(self, row: int) -> int:
        """A service's replicas that are starting there."""
        return sum(cohort.count for cohort in self.starting if cohort.row == row)

    def ended(self, cohort: Cohort, ready: int, again: Cohort | None) -> None:
        """A start on these nodes has ended: so many are ready, and the rest, if any, begins anew in the same place."""
        self.serving[cohort.row] += ready
        self.starting.remove(cohort)
        if again is not None:
            again.notice = self
            self.starting.append(again)


def keep_within(notices: Sequence[Notice], row: int, serving: int) -> None:
    """No more of a service's replicas are on such nodes than serve at all: who was told last is taken to have left first."""
    over = sum(notice.serving[row] for notice in notices) - serving
    for notice in reversed(notices):
        left = min(max(over, 0), notice.serving[row])
        notice.serving[row] -= left
        over -= left
