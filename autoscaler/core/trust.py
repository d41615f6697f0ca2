"""Whether forecasts are trusted: what policies that score their own say of them, service by service."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np

from autoscaler.core.model import Decisions, Floats, Forecast
from autoscaler.core.value import tick_value

_FLOAT64 = np.dtype(np.float64)


@tick_value
class Trust:
    """trusted (n,): 1, or 0 where a forecast has lost its vote; missed_ratio (n,): how often forecasts were exceeded lately, claimed_ratio
    (n,): how often they say they are. NaN where no policy that scores its forecast has a say, or nobody knows yet."""

    trusted: Floats
    missed_ratio: Floats
    claimed_ratio: Floats


def trust_of(decisions: Decisions) -> Trust | None:
    """Of several forecasts for one service the least trusted counts, and of those the one exceeded most often; None: nobody scores any."""
    scored = [(rows, one, one.trusted) for _, rows, one in decisions.forecasts if one.trusted is not None]
    if not scored:
        return None
    rows = np.concatenate([rows for rows, _, _ in scored])
    trusted = np.concatenate([trusted for _, _, trusted in scored]).astype(np.float64)
    missed = np.concatenate([_missed(one, len(rows)) for rows, one, _ in scored])
    claimed = np.concatenate([np.full(len(rows), one.claimed_ratio) for rows, one, _ in scored])
    # Whoever is written last stays: the worst.
    order = np.lexsort((np.nan_to_num(missed), -trusted))
    n = len(decisions.desired)
    found = Trust(trusted=np.full(n, np.nan), missed_ratio=np.full(n, np.nan), claimed_ratio=np.full(n, np.nan))
    found.trusted[rows[order]], found.missed_ratio[rows[order]] = trusted[order], missed[order]
    found.claimed_ratio[rows[order]] = claimed[order]
    return found


def _missed(forecast: Forecast, services: int) -> Floats:
    return np.full(services, np.nan) if forecast.missed_ratio is None else forecast.missed_ratio


def forecast_fault(forecast: Forecast, services: int) -> str:
    """What is wrong with a forecast for so many services, its types and shapes, in words; "" where nothing is. What is told of it must fail
    nowhere else: one plug-in's forecast stands in a record with everybody's decisions."""
    if fault := _type_fault(forecast):
        return fault
    times = forecast.times_s.shape
    if len(times) not in (1, 2) or not times[-1] or (len(times) == 2 and times[0] != services):
        return f"times_s has shape {times}; (times,) or ({services}, times) is needed"
    wanted = (services, len(forecast.quantiles), times[-1])
    if forecast.values.shape != wanted:
        return f"values has shape {forecast.values.shape}; (services, quantiles, times) is {wanted}"
    if forecast.trusted is not None and (forecast.trusted.shape != (services,) or forecast.trusted.dtype != np.bool_):
        return f"trusted is {forecast.trusted.dtype} of shape {forecast.trusted.shape}; bool of ({services},) is needed"
    if forecast.missed_ratio is not None and forecast.missed_ratio.shape != (services,):
        return f"missed_ratio has shape {forecast.missed_ratio.shape}; ({services},) is needed"
    return ""


def _type_fault(forecast: Any) -> str:
    for name in ("times_s", "quantiles", "values", "missed_ratio"):
        column = getattr(forecast, name)
        if type(column) is np.ndarray and column.dtype is _FLOAT64:
            continue  # nearly always so
        if not (column is None and name == "missed_ratio") and not (
            isinstance(column, np.ndarray) and column.dtype.kind in "fiu"
        ):
            return f"{name} is {_kind(column)}; an array of numbers is needed"
    for name in ("made_at_s", "claimed_ratio"):
        number = getattr(forecast, name)
        if type(number) is not float and not isinstance(number, Real):
            return f"{name} is {_kind(number)}; a number is needed"
    if not isinstance(forecast.unit, str):
        return f"unit is {_kind(forecast.unit)}; a text is needed"
    if forecast.trusted is not None and not isinstance(forecast.trusted, np.ndarray):
        return f"trusted is {_kind(forecast.trusted)}; an array of bool is needed"
    return ""


def _kind(value: object) -> str:
    return f"an array of {value.dtype}" if isinstance(value, np.ndarray) else f"of type {type(value).__name__}"
