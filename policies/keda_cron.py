"""A cron trigger as KEDA reads it: two expressions of five fields, and whether a moment lies between a start and an end.

Source: keda pkg/scalers/cron_scaler.go; robfig/cron v3 (ParseStandard without descriptors, SpecSchedule.Next), which KEDA parses with.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS: Final[tuple[tuple[str, int, int, dict[str, int]], ...]] = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of the month", 1, 31, {}),
    ("month", 1, 12, {name: number for number, name in enumerate(_MONTHS, 1)}),
    ("day of the week", 0, 6, {name: number for number, name in enumerate(_DAYS)}),
)
_LONGEST_DAYS: Final = 5 * 366
"""An expression without a day in five years has none (the 30th of February)."""


@dataclass(frozen=True, slots=True)
class Expression:
    """``minute hour day-of-month month day-of-week``; `any_day`, `any_weekday`: whether these two fields are a star."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    any_day: bool
    any_weekday: bool

    def next(self, after_s: float, zone: ZoneInfo) -> float:
        """The first moment (Unix time) later than `after_s` at which it fires by the zone's wall clock, infinite where it never does.
        An hour that a clock skips fires nothing, one that comes twice fires in both."""
        local = datetime.fromtimestamp(after_s, UTC).astimezone(zone)
        for day in range(_LONGEST_DAYS):
            # The day before too: where a clock is set back over midnight, its last hour comes once more.
            there = (local + timedelta(days=day - 1)).date()
            if self._falls_on(there):
                moments = [moment for moment in self._moments(there, zone) if moment > after_s]
                if moments:
                    return min(moments)
        return float("inf")

    def _falls_on(self, there: date) -> bool:
        if there.month not in self.months:
            return False
        day, weekday = there.day in self.days, there.isoweekday() % 7 in self.weekdays
        # With both restricted a day that either of them names is enough.
        return (day and weekday) if self.any_day or self.any_weekday else (day or weekday)

    def _moments(self, there: date, zone: ZoneInfo) -> Iterator[float]:
        for hour in self.hours:
            for minute in self.minutes:
                for fold in (0, 1):
                    wall = datetime(there.year, there.month, there.day, hour, minute, fold=fold, tzinfo=zone)
                    back = wall.astimezone(UTC).astimezone(zone)
                    if (back.hour, back.minute) == (hour, minute):
                        yield wall.timestamp()


def expression(text: str) -> Expression:
    """Reads a cron expression; ValueError with what is wrong."""
    parts = text.split()
    if len(parts) != len(_FIELDS):
        raise ValueError(f"'{text}' has {len(parts)} fields; minute, hour, day of the month, month and day of the week are five")
    minutes, hours, days, months, weekdays = (_values(part, *field) for part, field in zip(parts, _FIELDS, strict=True))
    return Expression(
        minutes=tuple(sorted(minutes)),
        hours=tuple(sorted(hours)),
        days=days,
        months=months,
        weekdays=weekdays,
        any_day=parts[2][0] in "*?",
        any_weekday=parts[4][0] in "*?",
    )


def _values(part: str, name: str, low: int, high: int, names: dict[str, int]) -> frozenset[int]:
    found: set[int] = set()
    for item in part.split(","):
        span, slash, step_text = item.partition("/")
        first_text, dash, last_text = span.partition("-")
        if span in ("*", "?"):
            first, last = low, high
        else:
            first = _number(first_text, item, name, low, high, names)
            # A single number with a step runs to the end: 5/15 is 5-59/15.
            last = _number(last_text, item, name, low, high, names) if dash else high if slash else first
        if slash and not (step_text.isdigit() and int(step_text) > 0):
            raise ValueError(f"'{item}' as {name}: a step is a whole number above 0")
        if first > last:
            raise ValueError(f"'{item}' as {name}: {first} lies behind {last}")
        found.update(range(first, last + 1, int(step_text) if slash else 1))
    return frozenset(found)


def _number(text: str, item: str, name: str, low: int, high: int, names: dict[str, int]) -> int:
    number = names.get(text.lower(), int(text) if text.isdigit() else -1)
    if not low <= number <= high:
        raise ValueError(f"'{item}' as {name}: {low} to {high}{' or a name' if names else ''} is allowed")
    return number


class CronWindow:
    """Whether a moment lies between a start and the end after it: where the next end comes before the next start."""

    def __init__(self, start: str, end: str, timezone: str) -> None:
        self._start, self._end, self._zone = expression(start), expression(end), ZoneInfo(timezone)
        self._from_s, self._until_s = float("inf"), float("-inf")
        self._active = False

    def active(self, at_s: float) -> bool:
        if not self._from_s <= at_s < self._until_s:
            start_s, end_s = self._start.next(at_s, self._zone), self._end.next(at_s, self._zone)
            self._active = not start_s < end_s
            # Until one of them has passed nothing changes.
            self._from_s, self._until_s = at_s, min(start_s, end_s)
        return self._active
