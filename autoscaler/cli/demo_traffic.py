"""Made traffic for the demo: three shapes, repeated for as many services as there are, as functions of the time of day.

Being functions of time they have a past as well, so that a policy that learns from days finds some.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from autoscaler.core.model import Fleet, Floats, Readings, SignalColumn
from autoscaler.core.signals import SignalState

DAY_S: Final = 86_400.0
HOUR_S: Final = 3600.0


def wave(at_s: Floats) -> Floats:
    """A working day that begins within half an hour, and an evening at home: 6 to 27 requests/s."""
    hour = at_s % DAY_S / HOUR_S
    office = _step(hour, 7.8, 0.13) - _step(hour, 17.8, 0.5)
    evening = np.exp(-(((hour - 20.5) / 1.6) ** 2))
    wobble = 1 + 0.05 * np.sin(2 * np.pi * at_s / 1500)
    rates: Floats = (6 + 20 * office + 12 * evening) * wobble
    return rates


def _step(hour: Floats, at: float, width: float) -> Floats:
    """From 0 to 1 around an hour of the day; three quarters of it within four widths."""
    rises: Floats = 1 / (1 + np.exp(-(hour - at) / width))
    return rises


def blocks(at_s: Floats) -> Floats:
    """Work that comes in blocks: 20 of every 50 minutes at 8 requests/s, else 0.8, with flanks of four minutes."""
    place = (at_s + 400) % 3000
    rising = np.clip(place / 240, 0, 1)
    falling = np.clip((place - 1200) / 240, 0, 1)
    rates: Floats = 0.8 + 7.2 * (rising - falling)
    return rates


def spikes(at_s: Floats) -> Floats:
    """A few requests/s, with short spikes of different height that no clock foresees."""
    base = 2.4 + 0.8 * np.sin(2 * np.pi * (at_s % DAY_S) / DAY_S - 1.2)
    total = np.zeros_like(base)
    for period_s, shift_s, height, width_s in ((2640, 490, 1.8, 75), (4140, 260, 2.6, 50), (7100, 5300, 2.4, 240)):
        from_peak = (at_s - shift_s + period_s / 2) % period_s - period_s / 2
        total += height * np.exp(-((from_peak / width_s) ** 2))
    return base + total


SHAPES: Final[tuple[Callable[[Floats], Floats], ...]] = (wave, blocks, spikes)


def rates_per_s(at_s: Floats, services: int) -> Floats:
    """Mean arrivals per second (services, times) at Unix times at_s."""
    return np.stack([SHAPES[row % len(SHAPES)](at_s) for row in range(services)])


def drawn(rates: Floats, seed: int) -> Floats:
    """Arrivals in whole requests, as independent people send them."""
    return np.random.Generator(np.random.PCG64([seed, 2])).poisson(rates).astype(np.float64)


def past_readings(fleet: Fleet, times_s: Sequence[float], rows: Sequence[int]) -> list[Readings]:
    """The demand that `rows` had at past times; the others are unknown."""
    rates = rates_per_s(np.asarray(times_s, dtype=np.float64), len(fleet))
    known = np.isin(np.arange(len(fleet)), list(rows))
    state = np.where(known, SignalState.KNOWN, SignalState.UNKNOWN).astype(np.int8)
    ages = np.where(known, 0.0, np.inf)
    return [
        Readings(
            at_s=at_s,
            signals={"demand": SignalColumn(values=np.where(known, rates[:, column], np.nan), age_s=ages, state=state)},
        )
        for column, at_s in enumerate(times_s)
    ]
