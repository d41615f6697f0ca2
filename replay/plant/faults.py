"""What goes wrong, from the scenario file or by a click in the demo. Times are seconds from the trace's start."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from autoscaler.spec import duration_s
from replay.scenario import FaultWindow


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """kind: as in scenario.FaultWindow. row: the service, None for all. pool: the plant's number of the pool, None for all (ScarceNodes, SpotLoss).
    until_s may be infinite. by_s: how late (MetricsLag). notice_s: how long before (SpotLoss). signals: which (MetricsNaN), all where empty."""

    kind: str
    from_s: float
    until_s: float
    factor: float = 1.0
    share: float = 0.0
    by_s: float = 0.0
    notice_s: float = 0.0
    signals: tuple[str, ...] = ()
    row: int | None = None
    pool: int | None = None

    def holds(self, at_s: float, row: int | None = None) -> bool:
        return self.from_s <= at_s < self.until_s and (self.row is None or row is None or self.row == row)


def scenario_fault(window: FaultWindow, row_of: Mapping[str, int], pool_of: Mapping[str, int]) -> Fault:
    """row_of, pool_of: numbers of services and pools by name. Raises KeyError for one that isn't there."""
    from_s = duration_s(window.at)
    return Fault(
        kind=window.kind,
        from_s=from_s,
        until_s=from_s + duration_s(window.lasts),
        factor=window.factor,
        share=window.share,
        by_s=duration_s(window.by),
        notice_s=duration_s(window.notice),
        signals=tuple(window.signals),
        row=row_of[window.service] if window.service else None,
        pool=pool_of[window.pool] if window.pool else None,
    )


class Faults:
    """The faults in force. rng draws which starts fail, what is lost, and how long starts take where that varies."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.known: list[Fault] = []

    def add(self, fault: Fault) -> None:
        self.known.append(fault)

    def end(self, kind: str, at_s: float) -> None:
        """Ends every fault of a kind that holds now."""
        self.known = [fault for fault in self.known if fault.kind != kind or not fault.holds(at_s)]

    def holds(self, kind: str, at_s: float, row: int | None = None) -> bool:
        return any(fault.kind == kind and fault.holds(at_s, row) for fault in self.known)

    def scarce(self, at_s: float, pool: int, rows: Collection[int]) -> bool:
        """Whether no new node of a pool, on which these services run, is to be had."""
        return any(
            fault.kind == "ScarceNodes"
            and fault.holds(at_s)
            and fault.pool in (None, pool)
            and (fault.row is None or fault.row in rows)
            for fault in self.known
        )

    def lag_s(self, at_s: float) -> float:
        """How much later than usual scrapes are seen now."""
        return max((fault.by_s for fault in self.known if fault.kind == "MetricsLag" and fault.holds(at_s)), default=0.0)

    def start_s(self, usual_s: int, at_s: float, row: int) -> int:
        """How long a start that begins now takes, in whole seconds."""
        for fault in self.known:
            if fault.kind == "SlowStarts" and fault.holds(at_s, row):
                usual_s = math.ceil(usual_s * fault.factor)
        return usual_s

    def failed(self, count: int, at_s: float, row: int) -> int:
        """How many of `count` starts that would be ready now have failed."""
        for fault in self.known:
            if fault.kind == "FailedStarts" and fault.holds(at_s, row):
                return int(self.rng.binomial(count, fault.share))
        return 0
