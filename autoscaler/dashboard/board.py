"""What the page knows: a reporter that keeps the latest tick, bounded history and explanations, and wakes whoever listens."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from autoscaler.core.model import Floats, Ints, SignalColumn
from autoscaler.core.signals import SIGNALS, SignalState
from autoscaler.core.trust import trust_of
from autoscaler.dashboard.attained import Attained
from autoscaler.dashboard.explanations import Explanations
from autoscaler.dashboard.foretold import Foretold
from autoscaler.dashboard.node_strip import NodeStrip
from autoscaler.dashboard.rings import BUDGET_BYTES, Rings
from autoscaler.explanation import explain_tick
from autoscaler.ports import PoolTold, Tick
from autoscaler.waiting import News

Status: TypeAlias = Literal["blind", "partial", "hands-off", "paused", "late", "starting", "ok"]
STATUSES: Final[tuple[Status, ...]] = ("blind", "partial", "hands-off", "paused", "late", "starting", "ok")
"""Worst first: a service shows the first that holds."""

SORTS: Final = ("name", "status", "demand", "queue", "ready", "planned", "attained")


def _nothing() -> Mapping[str, Any]:
    return {}


class Board:
    """A ports.Reporter. Everything it answers is plain JSON values.

    attained: share of requests within the objective by key ("" for the whole fleet), from whoever counts requests; services that are
    not in it are judged by ticks. nodes: nodes that are there now, by pool. told: what the pools' systems say, by pool.
    """

    def __init__(
        self,
        *,
        attained: Callable[[], Mapping[str, float]] = _nothing,
        nodes: Callable[[], Mapping[str, int]] = _nothing,
        told: Callable[[], Mapping[str, PoolTold]] = _nothing,
        budget_bytes: int = BUDGET_BYTES,
    ) -> None:
        self._counted = attained
        self._nodes = nodes
        self._strip = NodeStrip(told)
        self._rings = Rings(budget_bytes)
        self._attained = Attained()
        self._explanations = Explanations()
        self._foretold = Foretold()
        self._rows: dict[str, int] = {}
        self._keys: list[str] = []
        self._slots: Ints = np.empty(0, dtype=np.int64)
        self._revision: int | None = None
        self._objective: Floats = np.empty(0)
        self.tick: Tick | None = None
        self.news = News()
        """Of everything that a stream may want to tell."""

    # ------------------------------------------------------------ hearing

    async def report(self, tick: Tick) -> None:
        fleet = tick.fleet
        changed = fleet.revision != self._revision
        if changed:
            self._keys = [spec.key for spec in fleet.specs]
            self._rows = {key: row for row, key in enumerate(self._keys)}
            self._slots = self._rings.slots_of(self._keys)
            self._attained.rearrange(fleet)
            self._foretold.forget()
            self._strip.rearrange(fleet)
            self._revision = fleet.revision
        self._objective = self._attained.objective(tick.readings)
        demand = _known(tick.readings.signals.get("demand"), len(fleet))
        self._attained.add(self._objective, demand)
        self._foretold.add(tick)
        self._rings.push(float(tick.decisions.at_s), self._slots, self._columns(tick, demand))
        self._explanations.add(tick, self._rows, changed)
        self._strip.forget()
        self.tick = tick
        self.wake()

    def wake(self) -> None:
        """Lets the streams send something although no tick came (a control was used)."""
        self.news.tell()

    def _columns(self, tick: Tick, demand: Floats) -> npt.NDArray[np.float64]:
        fleet, readings = tick.fleet, tick.readings
        return np.stack(
            [
                demand,
                _known(readings.signals.get("queue"), len(fleet)),
                self._objective,
                _known(readings.signals.get("gpu_utilization"), len(fleet)),
                _known(readings.signals.get("utilization"), len(fleet)),
                fleet.current,
                fleet.ready,
                fleet.starting,
                fleet.draining,
                tick.decisions.recommended,
                tick.decisions.desired,
                tick.plan.replicas,
                *self._foretold.of_now(float(tick.decisions.at_s), len(fleet)),
            ]
        )

    # ------------------------------------------------------------ answering

    def fleet(self) -> dict[str, Any]:
        """All services together; `tick` is null until there was one."""
        tick = self.tick
        if tick is None:
            return {"tick": None, "services": 0}
        fleet, plan, decisions = tick.fleet, tick.plan, tick.decisions
        counted = self._counted().get("")
        there = self._nodes()
        return {
            "tick": tick.number,
            "at_s": float(decisions.at_s),
            "interval_s": tick.interval_s,
            "leading": tick.leading,
            "services": len(fleet),
            "revision": fleet.revision,
            "replicas": {
                "current": int(fleet.current.sum()),
                "ready": int(fleet.ready.sum()),
                "starting": int(fleet.starting.sum()),
                "draining": int(fleet.draining.sum()),
                "desired": int(decisions.desired.sum()),
                "planned": int(plan.replicas.sum()),
            },
            "demand_per_s": _sum(_known(tick.readings.signals.get("demand"), len(fleet))),
            "statuses": {status: count for status, count in zip(STATUSES, self._status_counts(tick), strict=True) if count},
            "attained_ratio": plain(self._attained.whole() if counted is None else counted),
            "attained_basis": "ticks" if counted is None else "requests",
            "pools": [
                {
                    "name": pool.name,
                    "nodes": fleet.pool_facts[pool.name].nodes if pool.name in fleet.pool_facts else there.get(pool.name),
                    "planned": plan.nodes.get(pool.name),
                    "asked": self._strip.asked(pool.name),
                    "min": pool.min_nodes,
                    "max": pool.max_nodes,
                    "accelerators_per_node": pool.accelerators_per_node,
                    "words": plan.node_words.get(pool.name, ""),
                }
                for pool in fleet.pools
            ],
            "paused": None
            if fleet.paused is None
            else {"direction": fleet.paused.direction, "until_s": fleet.paused.until_s, "reason": fleet.paused.reason},
            "timings_s": {name: round(spent, 6) for name, spent in tick.timings_s.items()},
            "problems": list(tick.problems),
        }

    def services(
        self, *, filter_by: str = "", sort: str = "name", descending: bool = False, offset: int = 0, limit: int = 200
    ) -> dict[str, Any]:
        """A page of the table. filter_by: a part of ``namespace/name``, upper and lower case alike."""
        tick = self.tick
        if tick is None:
            return {"total": 0, "offset": offset, "services": []}
        part = filter_by.strip().lower()
        rows = [row for row, key in enumerate(self._keys) if part in key.lower()] if part else list(range(len(self._keys)))
        by = self._sort_values(tick, sort)
        if by is None:
            rows.sort(key=self._keys.__getitem__, reverse=descending)
        else:
            # Missing values last in either direction.
            missing = np.isnan(by)
            sign = -1.0 if descending else 1.0
            rows.sort(key=lambda row: (bool(missing[row]), sign * by[row] if not missing[row] else 0.0, self._keys[row]))
        ratios = self._ratios()
        statuses = self._statuses(tick)
        return {
            "total": len(rows),
            "offset": offset,
            "services": [self._line(tick, row, ratios, statuses) for row in rows[offset : offset + limit]],
        }

    def service(self, key: str, since_s: float = -math.inf) -> dict[str, Any] | None:
        """All about one service: its configuration, what is now, and the columns later than `since_s` for the plots."""
        tick, row = self.tick, self._rows.get(key)
        if tick is None or row is None:
            return None
        spec = tick.fleet.specs[row]
        line = self._line(tick, row, self._ratios(), self._statuses(tick))
        signal = SIGNALS.get(spec.objective.signal)
        return {
            **line,
            "tick": tick.number,
            "at_s": float(tick.decisions.at_s),
            "target": spec.target,
            "pool": spec.pool,
            "objective": {
                "signal": spec.objective.signal,
                "target": spec.objective.target,
                "unit": signal.unit if signal else "",
                "promised_ratio": spec.objective.promised_ratio,
            },
            "capacity_per_s": plain(tick.decisions.capacity_per_s[row]),
            "capacity_confidence": None
            if tick.decisions.capacity_confidence is None
            else plain(tick.decisions.capacity_confidence[row]),
            "lead_time_s": plain(tick.fleet.lead_time_s[row]),
            "node_lead_time_s": plain(tick.fleet.node_lead_time_s[row]),
            "headroom": int(tick.plan.headroom[row]),
            "attained_basis": "requests" if key in self._counted() else "ticks",
            "explanation": self._explanations.latest(key) or explain_tick(tick, row),
            "forecast_trusted": _trusted(tick, row),
            "forecast": self._foretold.ahead(float(tick.decisions.at_s), row),
            "history": self._rings.history(key, since_s),
        }

    def nodes(self, pool: str | None, limit: int) -> dict[str, Any] | None:
        """Up to `limit` nodes of all pools together, or of one, and what runs on each; None where there is no such pool."""
        if self.tick is None:
            return {"tick": None, "pools": [], "more_pools": 0}
        return self._strip.answer(self.tick, pool, limit)

    def explain(self, key: str, at_s: float | None) -> dict[str, Any] | None:
        return self._explanations.latest(key) if at_s is None else self._explanations.at(key, at_s)

    def knows(self, key: str) -> bool:
        return key in self._rows

    # ------------------------------------------------------------ pieces

    def _line(self, tick: Tick, row: int, ratios: Floats, statuses: npt.NDArray[np.int8]) -> dict[str, Any]:
        spec, fleet = tick.fleet.specs[row], tick.fleet
        signals = tick.readings.signals
        return {
            "key": spec.key,
            "namespace": spec.namespace,
            "name": spec.name,
            "mode": spec.mode,
            "policies": [policy.name for policy in spec.policies],
            "status": STATUSES[int(statuses[row])],
            "demand": _value(signals.get("demand"), row),
            "queue": _value(signals.get("queue"), row),
            "gpu_utilization": _value(signals.get("gpu_utilization"), row),
            "objective_value": plain(self._objective[row]),
            "objective_target": spec.objective.target,
            "promised_ratio": spec.objective.promised_ratio,
            "attained_ratio": plain(ratios[row]),
            "current": int(fleet.current[row]),
            "ready": int(fleet.ready[row]),
            "starting": int(fleet.starting[row]),
            "draining": int(fleet.draining[row]),
            "recommended": plain(tick.decisions.recommended[row]),
            "desired": int(tick.decisions.desired[row]),
            "planned": int(tick.plan.replicas[row]),
            "min": spec.min_replicas,
            "max": spec.max_replicas,
        }

    def _ratios(self) -> Floats:
        ratios = self._attained.ratios()
        for key, ratio in self._counted().items():
            if key in self._rows:
                ratios[self._rows[key]] = ratio
        return ratios

    def _statuses(self, tick: Tick) -> npt.NDArray[np.int8]:
        """(n,) positions in STATUSES."""
        fleet, decisions = tick.fleet, tick.decisions
        targets = np.array([spec.objective.target for spec in fleet.specs], dtype=np.float64)
        at_s = float(decisions.at_s)
        paused = np.array(
            [spec.pause is not None and spec.pause.in_force(at_s) for spec in fleet.specs],
            dtype=np.bool_,
        )
        if fleet.paused is not None:
            paused[:] = True
        holds = [decisions.blind, decisions.partial, fleet.hands_off, paused, self._objective > targets, fleet.starting > 0]
        return np.select(holds, range(len(holds)), default=len(holds)).astype(np.int8)

    def _status_counts(self, tick: Tick) -> list[int]:
        counts: list[int] = np.bincount(self._statuses(tick), minlength=len(STATUSES)).tolist()
        return counts

    def _sort_values(self, tick: Tick, sort: str) -> npt.NDArray[np.float64] | None:
        n = len(tick.fleet)
        if sort in ("demand", "queue"):
            return _known(tick.readings.signals.get(sort), n)
        numbers: dict[str, Callable[[], npt.NDArray[Any]]] = {
            "status": lambda: self._statuses(tick),
            "ready": lambda: tick.fleet.ready,
            "planned": lambda: tick.plan.replicas,
            "attained": self._ratios,
        }
        return numbers[sort]().astype(np.float64) if sort in numbers else None


def plain(value: Any) -> float | None:
    """A JSON number, or null where it is none."""
    number = float(value)
    return number if math.isfinite(number) else None


def _sum(values: Floats) -> float | None:
    """Of what is known; null where nothing is."""
    known = values[~np.isnan(values)]
    return plain(known.sum()) if len(known) else None


def _known(column: SignalColumn | None, n: int) -> Floats:
    """NaN where unknown; idle is the zero that it means."""
    if column is None:
        return np.full(n, np.nan)
    values = np.where(column.state == SignalState.IDLE, 0.0, column.values)
    return np.where(column.state == SignalState.UNKNOWN, np.nan, values)


def _trusted(tick: Tick, row: int) -> bool | None:
    """Whether the forecast has its vote; None where no policy scores one."""
    trust = trust_of(tick.decisions)
    return None if trust is None or math.isnan(trust.trusted[row]) else bool(trust.trusted[row])


def _value(column: SignalColumn | None, row: int) -> float | None:
    if column is None or column.state[row] == SignalState.UNKNOWN:
        return None
    return 0.0 if column.state[row] == SignalState.IDLE else plain(column.values[row])
