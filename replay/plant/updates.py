"""Updates of services: replicas of a new version take the place of those that are there, as a Deployment's rolling update lets them.

At most ``surge`` replicas are there beyond the count and at most ``unavailable`` fewer are ready than the count; shares of it, rounded up and
down (Kubernetes' RollingUpdateDeployment; both zero: one at a time goes first). Who is still starting when an update begins is given up and begins
anew. Who leaves because the count falls is of an old version while there is one. A version that ran before is a rollback: its ready replicas stay.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from autoscaler.core.model import Floats, Ints, Versions
from autoscaler.spec import duration_s, share_ratio
from replay.scenario import Rollout

if TYPE_CHECKING:
    from replay.plant.lifecycle import Lifecycle

FIRST: Final = "v1"
"""What runs at the start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """row: the service, None for all. factor: what a replica of the version does ÷ what one of the first does."""

    at_s: int
    version: str
    surge_ratio: float
    unavailable_ratio: float
    factor: float = 1.0
    row: int | None = None


def scenario_updates(rollouts: Sequence[Rollout], row_of: Mapping[str, int]) -> tuple[Update, ...]:
    """Raises KeyError for a service that isn't there."""
    return tuple(
        Update(
            at_s=round(duration_s(one.at)),
            version=one.version or f"v{number + 2}",
            surge_ratio=share_ratio(one.max_surge),
            unavailable_ratio=share_ratio(one.max_unavailable),
            factor=one.factor,
            row=row_of[one.service] if one.service else None,
        )
        for number, one in enumerate(rollouts)
    )


class Updates:
    """The versions of a lifecycle's replicas, from its present ones on, all of them FIRST."""

    def __init__(self, life: Lifecycle, updates: Sequence[Update]) -> None:
        self._life = life
        self._rows = range(len(life.current))
        self._ready_of: list[dict[str, int]] = [{FIRST: int(life.ready[row])} for row in self._rows]
        self._going: list[Update | None] = [None] * len(self._rows)
        self._factor = {FIRST: 1.0, **{update.version: update.factor for update in updates}}
        for update in updates:
            life.events.plan(update.at_s, self._begin, update)

    # ------------------------------------------------------------ what is seen of them

    def versions(self) -> tuple[Versions, ...]:
        """Each service's, by their shares of the ready replicas."""
        return tuple(
            tuple((version, count / sum(ready.values())) for version, count in sorted(ready.items()) if count)
            for ready in self._ready_of
        )

    def surge(self) -> Ints:
        """Replicas beyond each service's count."""
        life = self._life
        surge: Ints = np.maximum(life.ready.astype(np.int64) + life.starting - life.current, 0)
        return surge

    def factors(self) -> Floats:
        """What a ready replica of each service does on average ÷ what one of FIRST does."""
        means = [
            sum(count * self._factor[version] for version, count in ready.items()) / max(sum(ready.values()), 1)
            for ready in self._ready_of
        ]
        return np.array([mean or 1.0 for mean in means])

    def replacing(self, row: int) -> bool:
        """Whether replicas of an older version are ready beside the newest."""
        update, ready = self._going[row], self._ready_of[row]
        return update is not None and any(count for version, count in ready.items() if version != update.version)

    # ------------------------------------------------------------ what happens

    def came(self, row: int, replicas: int, at_s: int) -> None:
        """So many have become ready."""
        update, ready = self._going[row], self._ready_of[row]
        version = FIRST if update is None else update.version
        ready[version] = ready.get(version, 0) + replicas
        self.go_on(row, at_s)

    def left(self, row: int, replicas: int) -> None:
        """So many are no longer ready."""
        update, ready = self._going[row], self._ready_of[row]
        newest = FIRST if update is None else update.version
        for version in sorted(ready, key=lambda version: version == newest):
            gone = min(ready[version], replicas)
            ready[version] -= gone
            replicas -= gone

    def go_on(self, row: int, at_s: int) -> None:
        """Replaces as many as may be replaced now."""
        update, life = self._going[row], self._life
        if update is None:
            return
        count = life.current.item(row)
        surge = math.ceil(update.surge_ratio * count)
        unavailable = math.floor(update.unavailable_ratio * count) or int(surge == 0)
        while (over := self._over(row, update, count, surge)) > 0:  # the count has fallen
            if left := life.cancel(row, over, at_s):
                life.drain(row, left, at_s)
        new = self._ready_of[row].get(update.version, 0)
        ready = int(life.ready[row])
        go = min(ready - new, ready - (count - unavailable))
        if go > 0:
            life.drain(row, go, at_s)
        starting = life.starting.item(row)
        come = min(count + surge - int(life.ready[row]) - starting, count - new - starting)
        if come > 0:
            life.create(row, come, at_s)

    def _over(self, row: int, update: Update, count: int, surge: int) -> int:
        """How many there are beyond what an update may have: of all, or of the new version."""
        life = self._life
        starting = life.starting.item(row)
        return starting + max(int(life.ready[row]) - count - surge, self._ready_of[row].get(update.version, 0) - count)

    def _begin(self, at_s: int, update: Update) -> None:
        for row in self._rows if update.row is None else (update.row,):
            self._going[row] = update
            self._life.cancel(row, self._life.starting.item(row), at_s)
            self.go_on(row, at_s)
