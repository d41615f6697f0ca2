"""Calendar windows: whether a schedule is in force at a moment, in its own time zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from autoscaler.core.model import Schedule


def in_force(schedule: Schedule, at_s: float) -> bool:
    """Whether `schedule` is in force at Unix time `at_s`.

    Judged by the local wall clock: on the day a clock is set forward a window loses the hour that isn't there, on the day it is set back
    it gains one. A window that ends at or before its start runs into the next day, and belongs to the day on which it started.
    """
    if schedule.from_s is not None and at_s < schedule.from_s:
        return False
    if schedule.until_s is not None and at_s >= schedule.until_s:
        return False
    local = datetime.fromtimestamp(at_s, UTC).astimezone(ZoneInfo(schedule.timezone))
    minute = local.hour * 60 + local.minute
    today, yesterday = local.weekday(), (local - timedelta(days=1)).weekday()
    start, end = schedule.start_minute, schedule.end_minute
    if end > start:
        return today in schedule.days and start <= minute < end
    return (today in schedule.days and minute >= start) or (yesterday in schedule.days and minute < end)
