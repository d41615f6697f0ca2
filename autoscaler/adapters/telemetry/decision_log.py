"""A log line for every write of a count and whenever a service becomes blind or sees again, each with the object's name."""

from __future__ import annotations

import logging
from typing import Final

import numpy as np

from autoscaler.core.model import Bools, Written
from autoscaler.ports import Tick

log = logging.getLogger("autoscaler.decisions")

MOST_LINES: Final = 200
"""Lines of one tick; what is beyond is counted. When a Prometheus dies, ten thousand services become blind in the same tick."""


class DecisionLog:
    """A Reporter. Only the leader's writes are its own to tell; blindness is told by standbys, too, at debug level."""

    def __init__(self) -> None:
        self._blind: Bools | None = None
        self._revision = -1

    async def report(self, tick: Tick) -> None:
        lines = [*np.flatnonzero(tick.outcome.written).tolist()]
        for row in lines[:MOST_LINES]:
            self._tell_write(tick, row)
        flipped = self._flipped(tick)
        for row in flipped[: max(0, MOST_LINES - len(lines))]:
            self._tell_sight(tick, row)
        untold = len(lines) + len(flipped) - MOST_LINES
        if untold > 0:
            log.warning("%d more objects were written, became blind or see again in this tick", untold)

    def _flipped(self, tick: Tick) -> list[int]:
        """Rows that became blind or see again since the last tick."""
        blind, before = tick.decisions.blind, self._blind
        same_rows = tick.fleet.revision == self._revision
        self._blind, self._revision = blind, tick.fleet.revision
        if before is None or not same_rows:
            return []
        rows: list[int] = np.flatnonzero(blind != before).tolist()
        return rows

    def _tell_write(self, tick: Tick, row: int) -> None:
        extra = {"object": tick.fleet.specs[row].key, "target": tick.fleet.specs[row].target}
        before, after = int(tick.fleet.current[row]), int(tick.plan.replicas[row])
        if tick.outcome.written[row] == Written.DONE:
            log.info("scaled from %d to %d: %s", before, after, tick.decisions.reason(row), extra=extra)
        else:
            log.warning("not scaled from %d to %d: %s", before, after, tick.outcome.errors.get(row, ""), extra=extra)

    def _tell_sight(self, tick: Tick, row: int) -> None:
        level = logging.INFO if tick.leading else logging.DEBUG
        words = tick.decisions.reason(row) if tick.decisions.blind[row] else "sees again"
        log.log(level, words, extra={"object": tick.fleet.specs[row].key})
