"""Cron expressions and windows as KEDA reads them (robfig/cron v3's rules, keda-docs' examples)."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from policies.keda_cron import CronWindow, expression

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def following(cron: str, after: str, zone: ZoneInfo = BERLIN) -> str:
    return datetime.fromtimestamp(expression(cron).next(at(after), zone), zone).isoformat(timespec="minutes")


@pytest.mark.parametrize(
    ("cron", "after", "wanted"),
    [
        ("30 * * * *", "2025-06-13T10:30:00+02:00", "2025-06-13T11:30+02:00"),  # later than, not at
        ("30 * * * *", "2025-06-13T10:29:59+02:00", "2025-06-13T10:30+02:00"),
        ("*/15 8-10,20 * * MON-FRI", "2025-06-13T10:44:00+02:00", "2025-06-13T10:45+02:00"),  # a Friday
        ("*/15 8-10,20 * * MON-FRI", "2025-06-13T10:45:00+02:00", "2025-06-13T20:00+02:00"),
        ("*/15 8-10,20 * * MON-FRI", "2025-06-13T20:45:00+02:00", "2025-06-16T08:00+02:00"),
        ("50/5 6 * * ?", "2025-06-13T06:50:00+02:00", "2025-06-13T06:55+02:00"),  # 50/5 runs to 59
        ("0 0 1 jan *", "2025-06-13T10:30:00+02:00", "2026-01-01T00:00+01:00"),
        ("0 0 29 2 *", "2025-06-13T10:30:00+02:00", "2028-02-29T00:00+01:00"),
        ("0 0 15 * 5", "2025-06-13T10:30:00+02:00", "2025-06-15T00:00+02:00"),  # the 15th or a Friday
        ("0 0 15 * 5", "2025-06-15T10:30:00+02:00", "2025-06-20T00:00+02:00"),
        ("0 0 15 * *", "2025-06-15T10:30:00+02:00", "2025-07-15T00:00+02:00"),
        ("30 2 * * *", "2024-03-31T00:00:00+01:00", "2024-04-01T02:30+02:00"),  # an hour that the clock skips
        ("30 2 * * *", "2024-10-27T00:00:00+02:00", "2024-10-27T02:30+02:00"),  # one that comes twice
        ("30 2 * * *", "2024-10-27T02:30:00+02:00", "2024-10-27T02:30+01:00"),
    ],
)
def test_the_next_time(cron: str, after: str, wanted: str) -> None:
    assert following(cron, after) == wanted


def test_a_day_that_never_comes() -> None:
    assert expression("0 0 30 2 *").next(at("2025-06-13T10:30:00+02:00"), BERLIN) == float("inf")


@pytest.mark.parametrize(
    ("cron", "words"),
    [
        ("0 8 * *", "has 4 fields"),
        ("60 8 * * *", "'60' as minute: 0 to 59"),
        ("0 8 * * 7", "'7' as day of the week: 0 to 6 or a name"),
        ("0 8 * xyz *", "'xyz' as month: 1 to 12 or a name"),
        ("0 9-8 * * *", "9 lies behind 8"),
        ("*/0 * * * *", "a step is a whole number above 0"),
        ("0 8 1,, * *", "'' as day of the month"),
    ],
)
def test_faults_are_told(cron: str, words: str) -> None:
    with pytest.raises(ValueError, match=words.replace("*", r"\*")):
        expression(cron)


def test_a_window_from_its_start_to_its_end() -> None:
    window = CronWindow("0 6 * * *", "0 20 * * *", "Asia/Kolkata")  # keda-docs' example
    moments = ["05:59:59", "06:00:00", "13:00:00", "19:59:59", "20:00:00", "23:00:00"]
    assert [window.active(at(f"2025-06-13T{moment}+05:30")) for moment in moments] == [False, True, True, True, False, False]
    assert window.active(at("2025-06-13T07:00:00+05:30"))  # also back in time


def test_a_window_over_midnight_and_one_over_the_weekend() -> None:
    night = CronWindow("0 22 * * *", "0 6 * * *", "UTC")
    assert [night.active(at(f"2025-06-13T{hour}:00:00+00:00")) for hour in ("00", "05", "06", "21", "22", "23")] == [
        *(True, True, False),
        *(False, True, True),
    ]
    weekend = CronWindow("0 18 * * 5", "0 8 * * 1", "Europe/Berlin")
    days = ["13T17:00", "13T18:00", "15T12:00", "16T07:59", "16T08:00", "18T12:00"]
    assert [weekend.active(at(f"2025-06-{day}:00+02:00")) for day in days] == [False, True, True, True, False, False]
