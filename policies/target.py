"""``target``: a signal per replica is kept at a value, as an HPA does. Several signals: name the policy several times, the highest
count wins.

A signal that counts work (requests in flight, requests/s) is divided by the target: ceil(value ÷ target). A signal that is a mean
per replica (a utilization, a latency) scales what is ready: ceil(ready × value ÷ target).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from autoscaler.core.model import Floats, Ints, Observation, ParamValue, Recommendation
from autoscaler.core.policy import Parameter, Params, PolicyType, Stateless
from autoscaler.core.seen import seen
from autoscaler.core.signals import SIGNALS
from autoscaler.core.sizing import whole_replicas
from autoscaler.core.value import maker

_recommendation = maker(Recommendation)
FILL: Final = 0.7
"""Without a target: this share of what one replica holds. 22.4 in flight for 32 slots, the usual setting of HPA and KPA."""
IN_FLIGHT: Final = frozenset({"queue", "running", "concurrency"})


class _Use:
    """The rows that follow one signal; rows None means all of them."""

    __slots__ = ("_completed", "_holds", "defaulted", "given", "per_replica", "rows", "signal", "target")

    def __init__(self, signal: str, rows: Ints | None, target: Floats) -> None:
        self.signal = signal
        self.per_replica = SIGNALS[signal].per_replica
        self.rows = rows
        self.given = target > 0
        self.defaulted = not bool(self.given.all())
        self._holds: Floats | None = None
        self._completed: Floats = target
        self.target = target if not self.per_replica else np.where(self.given, target, FILL)
        if self.per_replica:
            self.defaulted = False

    def targets(self, observation: Observation) -> Floats:
        """The targets of the use's rows; those left out follow from what a replica holds."""
        if not self.defaulted:
            return self.target
        holds = observation.slots if self.signal in IN_FLIGHT else observation.capacity_per_s
        if holds is not self._holds:
            self._holds = holds
            self._completed = np.where(self.given, self.target, FILL * (holds if self.rows is None else holds[self.rows]))
        return self._completed


class Target(Stateless):
    """Divides. Parameters (n,): signal, target, tolerance."""

    def __init__(self, params: Params) -> None:
        super().__init__(params)
        self._group()

    def rearrange(self, rows: Ints, params: Params) -> None:
        super().rearrange(rows, params)
        self._group()

    def _group(self) -> None:
        names: list[str] = self.params["signal"].tolist()
        target: Floats = self.params["target"]
        distinct = sorted(set(names))
        if len(distinct) == 1:
            self._uses = [_Use(distinct[0], None, target)]
        else:
            by_name = [(name, np.flatnonzero(self.params["signal"] == name)) for name in distinct]
            self._uses = [_Use(name, rows, target[rows]) for name, rows in by_name]
        self._tolerance: Floats | None = self.params["tolerance"] if np.count_nonzero(self.params["tolerance"]) else None

    def recommend(self, observation: Observation) -> Recommendation:
        uses = self._uses
        if len(uses) == 1 and uses[0].rows is None:
            exact, targets = _exact(uses[0], observation)
        else:
            exact, targets = np.full(len(observation), np.nan), np.full(len(observation), np.nan)
            for use in uses:
                part, target = _exact(use, observation)
                exact[use.rows], targets[use.rows] = part[use.rows], target
        replicas: Floats = whole_replicas(exact)
        if self._tolerance is not None:
            current = observation.current
            near = np.abs(exact - current) <= self._tolerance * current
            replicas = np.where(near, current, replicas)

        def why(row: int) -> str:
            return self._words(observation, row, float(exact[row]), targets, float(replicas[row]))

        return _recommendation(replicas=replicas, why=why)

    def _words(self, observation: Observation, row: int, exact: float, targets: Floats, replicas: float) -> str:
        name = str(self.params["signal"][row])
        use = next(use for use in self._uses if use.signal == name)
        position = row if use.rows is None else int(np.searchsorted(use.rows, row))
        target = float(targets[position if use.rows is None else row])
        value = float(seen(observation, name)[row])
        if value != value:
            return f"{name} is unknown: no count from it"
        if target != target:
            return f"{name} is {value:.4g}, but neither target nor capacity is known: no count from it"
        if exact != exact:
            return f"{name} is {value:.4g}, but nothing is ready that it could speak of: no count from it"
        on = f" on {int(observation.ready[row])} ready" if use.per_replica else ""
        words = f"{name} {value:.4g}{on} at {target:.4g} a replica: {np.ceil(exact * (1 - 1e-9)):.0f}"
        if replicas != np.ceil(exact * (1 - 1e-9)):
            words += f"; within the tolerance of {float(self.params['tolerance'][row]):.0%}, so {replicas:.0f} stay"
        return words


def _exact(use: _Use, observation: Observation) -> tuple[Floats, Floats]:
    """Unrounded counts of all n rows (those of other signals mean nothing), and the targets of the use's rows."""
    values = seen(observation, use.signal)
    rows = use.rows
    target = use.targets(observation)
    if rows is not None:
        spread = np.full(len(values), np.nan)
        spread[rows] = target
        full: Floats = spread
    else:
        full = target
    if not use.per_replica:
        return values / full, target
    ready = observation.ready
    exact = ready * values / full
    if np.count_nonzero(ready) < len(ready):
        # A mean over no replicas speaks of nothing: replicas may be starting. Idle is known, and is zero.
        exact = np.where((ready == 0) & (values != 0), np.nan, exact)
    return exact, target


def _check(params: Mapping[str, ParamValue]) -> Sequence[str]:
    signal = SIGNALS[str(params["signal"])]
    if params["target"] == 0 and signal.unit not in ("requests", "requests/s", "ratio"):
        return [f"target: signal '{signal.name}' ({signal.unit}) has no usual value, so the target must be given"]
    return []


POLICY = PolicyType(
    name="target",
    summary="keeps a signal per replica at a value, as an HPA does",
    parameters=(
        Parameter(name="signal", kind="signal", default="concurrency", description="the signal"),
        Parameter(
            name="target",
            kind="float",
            default=0.0,
            description=(
                f"its value per replica; 0: {FILL:.0%} of what a replica holds (of its slots for requests in flight, of its capacity "
                "for demand, of 1 for a utilization)"
            ),
            unit="the signal's unit",
            minimum=0,
            maximum=1e9,
            tunable=True,
            log_scale=True,
            search=(0.3, 1.1),
            search_of="held",
        ),
        Parameter(
            name="tolerance",
            kind="float",
            default=0.0,
            description="no change where the count needed is within this share of the current one (an HPA's is 0.1)",
            unit="ratio",
            minimum=0,
            maximum=1,
            tunable=True,
            search=(0, 0.3),
        ),
    ),
    make=lambda params, _rng: Target(params),
    signals=lambda params: (str(params["signal"]),),
    source="Kubernetes HorizontalPodAutoscaler, AverageValue and Utilization targets, without its corrections for missing pods",
    check=_check,
)
