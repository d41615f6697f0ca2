"""Observations for policies' tests: a few services as arrays, told tick after tick."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from autoscaler.core.history import History
from autoscaler.core.model import Floats, Observation, ParamValue, Recommendation, Signal
from autoscaler.core.policy import Policy, PolicyType, complete_params, stack_params
from autoscaler.core.signals import SignalState

NAN = float("nan")
IDLE = "idle"
START_S = 1_750_000_000.0


class Services:
    """One policy, the services it serves, and their signals' past."""

    def __init__(
        self, policy: PolicyType, params: Sequence[Mapping[str, ParamValue]], interval_s: float = 15.0, at_s: float = START_S
    ) -> None:
        completed = []
        for given in params:
            one, faults = complete_params(policy, given)
            assert not faults, faults
            completed.append(one)
        self.n = len(completed)
        self.type = policy
        self.policy: Policy = policy.make(stack_params(policy, completed), np.random.default_rng(0))
        self.interval_s = interval_s
        self.at_s = at_s - interval_s
        self.spans_s: dict[str, Floats] = {}
        """Over how long a signal's values are means, (n,), where that is known."""
        self._past: dict[str, History] = {}
        self.observation: Observation

    def see(self, *, after_s: float | None = None, **now: Any) -> Recommendation:
        """One tick. Signals by name, one value for all or one a row: a number, NaN (unknown) or IDLE; other names are columns."""
        self.at_s += self.interval_s if after_s is None else after_s
        signals, columns = {}, {}
        for name, value in now.items():
            rows = list(value) if isinstance(value, (list, tuple, np.ndarray)) else [value] * self.n
            if name in ("current", "ready", "starting", "min_replicas", "max_replicas"):
                columns[name] = np.array(rows, dtype=np.int64)
            elif name == "pooled":
                columns[name] = np.array(rows, dtype=np.bool_)
            elif name in _COLUMNS or name == "full_slots":
                columns[name] = np.array(rows, dtype=np.float64)
            else:
                signals[name] = self._signal(name, rows)
        self.observation = an_observation(self.n, self.at_s, self.interval_s, signals, **columns)
        self.policy.observe(self.observation)
        return self.policy.recommend(self.observation)

    def forget_signals(self, n: int) -> None:
        """From now on there are `n` services, after the policy was told so."""
        self.n = n
        self._past.clear()

    def _signal(self, name: str, rows: Sequence[Any]) -> Signal:
        values = np.array([0.0 if value == IDLE else value for value in rows], dtype=np.float64)
        state = np.where(np.isnan(values), SignalState.UNKNOWN, SignalState.KNOWN).astype(np.int8)
        state[[value == IDLE for value in rows]] = SignalState.IDLE
        past = self._past.setdefault(name, History(self.n, int(self.type.lookback_s // self.interval_s) + 1))
        past.push(self.at_s, values)
        return Signal(values=values, age_s=np.zeros(self.n), state=state, history=past, span_s=self.spans_s.get(name))


_COLUMNS = {
    "capacity_per_s": 1.6,
    "slots": 32.0,
    "slots_slowdown": 64.0,
    "lead_time_s": 120.0,
    "node_lead_time_s": 180.0,
    "objective_target": 5.0,
    "promised_ratio": 0.995,
}


def an_observation(n: int, at_s: float, interval_s: float, signals: Mapping[str, Signal], **columns: Any) -> Observation:
    """The standard scenario's services, but for `columns`."""
    floats: dict[str, Floats] = {name: np.full(n, value) for name, value in _COLUMNS.items()}
    counts: dict[str, Any] = {
        "current": np.full(n, 10),
        "ready": np.full(n, 10),
        "starting": np.zeros(n, dtype=np.int64),
        "min_replicas": np.ones(n, dtype=np.int64),
        "max_replicas": np.full(n, 120),
    }
    return Observation(at_s=at_s, interval_s=interval_s, signals=signals, **{**floats, **counts, **columns})
