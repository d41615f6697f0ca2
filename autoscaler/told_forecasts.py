"""What policies foretell one service: as plain JSON values for records and explanations, and in words for people."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np

from autoscaler.core.model import Decisions, Forecast

_DIGITS: Final = 5
"""Enough for people, and a record keeps short."""


def told_forecasts(decisions: Decisions, row: int) -> list[dict[str, Any]]:
    """The nearest forecast of each policy that made one for the row. Call it before the next tick, as ``Decisions.reason``."""
    return [
        _told(policy, forecast, int(place))
        for policy, rows, forecast in decisions.forecasts
        for place in np.flatnonzero(rows == row)
    ]


def _told(policy: str, forecast: Forecast, place: int) -> dict[str, Any]:
    told: dict[str, Any] = {
        "policy": policy,
        "at_s": float(forecast.times_of(place)[0]),
        "window_s": forecast.window_s,
        "unit": forecast.unit,
        "quantiles": forecast.quantiles.tolist(),
        "values": [_short(value) for value in forecast.values[place, :, 0].tolist()],
    }
    if forecast.trusted is not None:
        told["trusted"] = bool(forecast.trusted[place])
        told["missed_ratio"] = None if forecast.missed_ratio is None else _short(float(forecast.missed_ratio[place]))
        told["claimed_ratio"] = forecast.claimed_ratio
    return {**told, **_parts(forecast, place)}


def _parts(forecast: Forecast, place: int) -> dict[str, Any]:
    try:
        parts = forecast.parts(place)
        if parts is None:
            return {}
        return {"now": _short(parts.now), "factors": {str(name): _short(factor) for name, factor in parts.factors.items()}}
    except Exception:  # a stranger's plug-in: nothing is decided by it
        return {}


def with_words(told: Mapping[str, Any], made_at_s: float) -> dict[str, Any]:
    """The same with ``words``: what is expected, where it comes from, and whether it is trusted."""
    return {**told, "words": [words for words in (_expected(told, made_at_s), _made_of(told), _trusted(told)) if words]}


def missed_words(missed_ratio: float | None, claimed_ratio: float) -> str:
    """How often a forecast was exceeded, beside how often it says it is."""
    if missed_ratio is None or missed_ratio != missed_ratio:
        return "none of what it foretold has come yet"
    return f"lately demand was above its {1.0 - claimed_ratio:.0%} mark {missed_ratio:.0%} of the time, where it says {claimed_ratio:.0%}"


def _expected(told: Mapping[str, Any], made_at_s: float) -> str:
    ahead = f"in {told['at_s'] - made_at_s:.0f} s ({datetime.fromtimestamp(told['at_s'], UTC):%H:%M:%SZ})"
    said = [(share, value) for share, value in zip(told["quantiles"], told["values"], strict=True) if value is not None]
    if not said:
        return f"{ahead}: can't tell what demand will need"
    unit = "/s" if told["unit"] == "requests/s" else f" {told['unit']}"
    parts = [
        f"{value:.3g}{unit} as likely as not"
        if share == 0.5
        else f"at most {value:.3g}{unit} with {100 * share:.4g}% probability"
        for share, value in said
    ]
    return f"{ahead} demand will need capacity for {', '.join(parts)}"


def _made_of(told: Mapping[str, Any]) -> str:
    factors = told.get("factors")
    if not factors or told["now"] is None:
        return ""
    pulls = ", ".join(f"{name} {_percent(factor)}" for name, factor in factors.items() if factor is not None)
    return f"it starts from {told['now']:.3g} now, moved by {pulls}"


def _percent(factor: float) -> str:
    return f"{100.0 * (factor - 1.0):+.1f}%".replace("-", "−")


def _trusted(told: Mapping[str, Any]) -> str:
    if "trusted" not in told:
        return ""
    missed = missed_words(told["missed_ratio"], told["claimed_ratio"])
    if told["trusted"]:
        return f"it is trusted: {missed}"
    return f"it is not trusted and has no vote: {missed}; what is seen now decides until it holds again"


def _short(value: float) -> float | None:
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
