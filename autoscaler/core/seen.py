"""How a policy reads a signal without mixing up unknown, idle and zero."""

from __future__ import annotations

import numpy as np

from autoscaler.core.model import Floats, Observation
from autoscaler.core.signals import SignalState


def seen(observation: Observation, name: str) -> Floats:
    """A signal's values now, (n,): NaN where unknown, 0.0 where idle (known to be without work). Read-only.

    A signal that is not there at all is unknown for everybody."""
    signal = observation.signals.get(name)
    if signal is None:
        return np.full(len(observation), np.nan)
    # Nearly always all are known (state 0): then the column itself is the answer, at a fifth of a microsecond.
    if np.count_nonzero(signal.state):
        values = np.where(signal.state == SignalState.IDLE, 0.0, signal.values)
        return np.where(signal.state == SignalState.UNKNOWN, np.nan, values)
    return signal.values


def any_unknown(values: Floats) -> bool:
    """Whether any of `values` is NaN. A dot product costs a fifth of ``isnan().any()`` for one service (infinities make it say yes too)."""
    total = float(values.dot(values))
    return total != total or total == np.inf
