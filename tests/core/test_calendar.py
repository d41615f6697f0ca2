"""Calendar windows against a clock that is looked at second by second."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from autoscaler.core.calendar import Calendar
from autoscaler.core.model import Fleet, ScalingSpec, Schedule
from autoscaler.core.table import Table
from tests.core.allocation.fleets import a_pool, a_service, fleet_of

HOUR_S = 3600.0
ZONES = ("UTC", "Europe/Berlin", "Asia/Beirut", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu")
FORWARD_S = datetime(2025, 3, 30, 1, tzinfo=UTC).timestamp()
"""Berlin: from 02:00 to 03:00."""
BACK_S = datetime(2025, 10, 26, 1, tzinfo=UTC).timestamp()
"""Berlin: from 03:00 to 02:00."""
CHANGES_S = (
    FORWARD_S,
    BACK_S,
    datetime(2025, 3, 9, 7, tzinfo=UTC).timestamp(),  # New York forward
    datetime(2025, 11, 2, 6, tzinfo=UTC).timestamp(),  # and back
    datetime(2025, 4, 5, 15, tzinfo=UTC).timestamp(),  # Lord Howe, by half an hour
    datetime(2025, 10, 25, 21, tzinfo=UTC).timestamp(),  # Beirut, from midnight into the day before
    datetime(2025, 6, 16, 12, tzinfo=UTC).timestamp(),  # none
)


def in_force(schedule: Schedule, at_s: float) -> bool:
    """What a window means: the wall clock, looked at."""
    if (schedule.from_s is not None and at_s < schedule.from_s) or (schedule.until_s is not None and at_s >= schedule.until_s):
        return False
    local = datetime.fromtimestamp(at_s, UTC).astimezone(ZoneInfo(schedule.timezone))
    minute = local.hour * 60 + local.minute
    today, yesterday = local.weekday(), (local - timedelta(days=1)).weekday()
    start, end = schedule.start_minute, schedule.end_minute
    if end > start:
        return today in schedule.days and start <= minute < end
    return (today in schedule.days and minute >= start) or (yesterday in schedule.days and minute < end)


def bounds_at(spec: ScalingSpec, at_s: float) -> tuple[int, int, str]:
    low, high, name = spec.min_replicas, spec.max_replicas, ""
    for window in spec.schedules:
        if in_force(window, at_s):
            name = window.name
            low = low if window.min_replicas is None else window.min_replicas
            high = high if window.max_replicas is None else window.max_replicas
    return low, high, name


def highest_min(spec: ScalingSpec, at_s: float, ahead_s: float) -> int:
    """Of every second."""
    seconds = [at_s, *range(int(np.floor(at_s)) + 1, int(np.floor(at_s + ahead_s)) + 1)]
    return max(min(bounds_at(spec, second)[:2]) for second in seconds)


def window(name: str = "window", days: Sequence[int] = range(7), **given: object) -> Schedule:
    made = Schedule(name=name, timezone="UTC", days=frozenset(days), start_minute=0, end_minute=0)
    return replace(made, **given)  # type: ignore[arg-type]


def in_berlin(start_minute: int, end_minute: int) -> Schedule:
    return window(timezone="Europe/Berlin", start_minute=start_minute, end_minute=end_minute, min_replicas=7)


def near(moment_s: float) -> st.SearchStrategy[float]:
    """Within some hours of it, rarely on a whole second."""
    return st.floats(-9 * HOUR_S, 4 * HOUR_S).map(lambda by_s: round(moment_s + by_s, 1))


MINUTES = st.one_of(st.sampled_from([0, 90, 120, 150, 180, 1439]), st.integers(0, 1439))
WINDOWS = st.builds(
    Schedule,
    name=st.sampled_from("abcd"),
    timezone=st.sampled_from(ZONES),
    days=st.frozensets(st.integers(0, 6), min_size=1),
    start_minute=MINUTES,
    end_minute=MINUTES,
    from_s=st.none() | st.sampled_from(CHANGES_S).flatmap(near).map(np.round).map(float),
    until_s=st.none() | st.sampled_from(CHANGES_S).flatmap(near).map(np.round).map(float),
    min_replicas=st.none() | st.integers(0, 9),
    max_replicas=st.none() | st.integers(1, 9),
)
SERVICES = st.lists(st.lists(WINDOWS, min_size=0, max_size=3), min_size=1, max_size=4)


def services(windows: Sequence[Sequence[Schedule]]) -> list[ScalingSpec]:
    return [
        a_service(f"s{number}", min_replicas=number % 3, max_replicas=5 + number, schedules=tuple(mine))
        for number, mine in enumerate(windows)
    ]


@settings(max_examples=200, deadline=None)
@given(SERVICES, st.sampled_from(CHANGES_S).flatmap(near))
def test_bounds_are_those_of_the_wall_clock(windows: list[list[Schedule]], at_s: float) -> None:
    specs = services(windows)
    calendar = Calendar(specs)
    assert bool(calendar) == any(windows)
    if not calendar:
        return
    low, high, last = (column.tolist() for column in calendar.bounds(at_s))
    names = [calendar.name(number) if number >= 0 else "" for number in last]
    scheduled = [spec for spec in specs if spec.schedules]
    assert list(zip(low, high, names, strict=True)) == [bounds_at(spec, at_s) for spec in scheduled]
    turn_s = calendar.next_turn_s(at_s)
    assert turn_s > at_s
    for later_s in np.linspace(at_s, turn_s, 7, endpoint=False).tolist():
        assert [bounds_at(spec, later_s) for spec in scheduled] == [bounds_at(spec, at_s) for spec in scheduled]


@settings(max_examples=60, deadline=None)
@given(SERVICES, st.sampled_from(CHANGES_S).flatmap(near), st.lists(st.floats(0.0, 3 * HOUR_S), min_size=4, max_size=4))
@example([[in_berlin(150, 170)]], FORWARD_S - 60.5, [120.0] * 4)  # all of it in the hour that isn't there
@example([[in_berlin(150, 240)], [window(start_minute=55, min_replicas=3)]], FORWARD_S - 600.0, [900.0] * 4)  # begins late
@example([[in_berlin(210, 240)]], FORWARD_S - 900.0, [3600.0] * 4)
@example([[in_berlin(150, 160)]], BACK_S - 900.0, [3600.0] * 4)  # for the second time
@example([[in_berlin(0, 10)]], BACK_S - 30 * HOUR_S, [0.0] * 4)  # nothing for half a day
def test_the_highest_minimum_is_that_of_every_second(windows: list[list[Schedule]], at_s: float, ahead_s: list[float]) -> None:
    specs = [spec for spec in services(windows) if spec.schedules]
    if not specs:
        return
    calendar, ahead = Calendar(specs), np.array(ahead_s[: len(specs)])
    found, holds_s = calendar.highest_min(at_s, ahead)
    assert found.tolist() == [highest_min(spec, at_s, one_s) for spec, one_s in zip(specs, ahead_s, strict=False)]
    assert holds_s > at_s
    for later_s in np.linspace(at_s, holds_s, 5, endpoint=False).tolist():
        again = [highest_min(spec, later_s, one_s) for spec, one_s in zip(specs, ahead_s, strict=False)]
        assert again == found.tolist(), (
            f"until {holds_s - at_s:g} s later it stays, and was another one after {later_s - at_s:g} s"
        )


def test_a_lead_time_of_days_sees_windows_of_all_of_them_up_to_a_week() -> None:
    monday_s = datetime(2025, 6, 16, 12, tzinfo=UTC).timestamp()
    spec = a_service("one", schedules=(window(days=[3], start_minute=600, end_minute=610, min_replicas=6),))
    for hours, expected in ((69.9, 0), (70.0, 6), (1e9, 6)):
        assert Calendar([spec]).highest_min(monday_s, np.array([hours * HOUR_S]))[0].tolist() == [expected]
    for days, expected in ((6.9, 6), (7.1, 0)):
        once = a_service("once", schedules=(window(from_s=monday_s + days * 24 * HOUR_S, min_replicas=6),))
        assert Calendar([once]).highest_min(monday_s, np.array([1e9]))[0].tolist() == [expected]


@pytest.mark.parametrize("minutes", [2, 30])
def test_nodes_for_a_window_shorter_than_a_nodes_lead_time_are_kept_until_it_begins(minutes: int) -> None:
    """Three minutes a node, and one interval more, since the next tick may be too late."""
    busy = window(start_minute=60, end_minute=60 + minutes, min_replicas=7)
    fleet = fleet_of([a_service("one", schedules=(busy,)), a_service("plain")], [0, 0], pools=(a_pool(),))
    table = Table(fleet)
    coming = [table.coming_min(at_s, fleet, 15.0).tolist() for at_s in np.arange(0.0, 7200.0, 15.0)]
    first, past = (3600 - 180 - 15) // 15, (3600 + 60 * minutes) // 15
    assert coming == [[0, 0]] * first + [[7, 0]] * (past - first) + [[0, 0]] * (480 - past)


def test_what_comes_does_not_depend_on_what_was_asked_before() -> None:
    """Lead times, pools and moments, in any order: as of a table that knows nothing."""
    rng = np.random.default_rng(3)
    at_s = [round(float(FORWARD_S + one), 1) for one in rng.uniform(-HOUR_S, HOUR_S, 300)]
    specs = [
        a_service(
            f"s{number}",
            pool="h100" if number % 2 else "l4",
            schedules=(window(start_minute=number * 3, end_minute=number * 3 + 5, min_replicas=1 + number, from_s=FORWARD_S),),
        )
        for number in range(20)
    ]
    pools = [(a_pool(),), (a_pool(), a_pool("l4")), ()]

    def fleet_at(moment_s: float) -> Fleet:
        lead_s = np.full(20, 60.0 * (1 + int(moment_s) // 100 % 9))
        return replace(fleet_of(specs, [0] * 20, pools=pools[int(moment_s) // 300 % 3]), node_lead_time_s=lead_s)

    one = Table(fleet_at(0.0))
    for moment_s in [*at_s, *sorted(at_s)]:
        fleet = fleet_at(moment_s)
        fresh = Table(fleet)
        assert one.coming_min(moment_s, fleet, 15.0).tolist() == fresh.coming_min(moment_s, fleet, 15.0).tolist()
        for table in (one, fresh):
            table.move_bounds(moment_s)
        assert one.min_replicas.tolist() == fresh.min_replicas.tolist()
        assert [one.schedule_in_force(row) for row in range(20)] == [fresh.schedule_in_force(row) for row in range(20)]
