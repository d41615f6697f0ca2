"""seasonal: learns the week's shape in bounded state, and floors only hours it has lived through."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from autoscaler.core.model import ParamValue
from autoscaler.core.policy import complete_params, stack_params
from policies.seasonal import POLICY
from tests.policies.observations import NAN, Services

MONDAY_S = datetime(2025, 6, 2, tzinfo=UTC).timestamp()
DAY_S = 86_400.0
WHOLE: dict[str, ParamValue] = {"share": 1.0, "learning": 1.0}


def hour_of(at_s: float) -> int:
    return int(at_s // 3600 % 24)


def lived(params: dict[str, ParamValue], days: float, demand: Any, step_s: float = 300.0, at_s: float = MONDAY_S) -> Services:
    services = Services(POLICY, [params], interval_s=step_s, at_s=at_s)
    while services.at_s + step_s < at_s + days * DAY_S:
        services.see(demand=demand(services.at_s + step_s))
    return services


def floor_at(services: Services, at_s: float, **now: Any) -> float:
    """The floor at a later moment, what lies between not seen."""
    return float(services.see(after_s=at_s - services.at_s, demand=NAN, **now).replicas[0])


def by_hour(at_s: float) -> float:
    return 16.0 if 9 <= hour_of(at_s) < 17 else 1.6


def test_yesterdays_hours_are_todays_floor() -> None:
    services = lived(WHOLE, 1, by_hour)
    tuesday = MONDAY_S + DAY_S
    assert floor_at(services, tuesday + 5 * 3600) == 1
    assert floor_at(services, tuesday + 12 * 3600) == 10
    assert services.see(demand=NAN).why(0) == "usually 16/s come at this time; 100% of it at 1.6/s a replica: at least 10"
    assert floor_at(services, tuesday + 20 * 3600) == 1


def test_it_asks_a_lead_time_ahead() -> None:
    services = lived(WHOLE, 1, by_hour)
    nine = MONDAY_S + DAY_S + 9 * 3600
    assert floor_at(services, nine - 900, lead_time_s=120.0) == 1
    assert floor_at(services, nine - 300, lead_time_s=120.0) == 10
    services = lived(WHOLE, 1, by_hour)
    assert floor_at(services, nine - 1200, lead_time_s=1200.0) == 10


def test_the_share_and_the_capacity_divide() -> None:
    services = lived({"share": 0.5, "learning": 1.0}, 1, lambda _at: 16.0)
    assert floor_at(services, MONDAY_S + DAY_S + 3600) == 5
    assert np.isnan(services.see(demand=1.0, capacity_per_s=NAN).replicas[0])


def test_hours_not_lived_through_have_no_floor() -> None:
    services = lived(WHOLE, 0.5, by_hour)
    assert np.isnan(floor_at(services, MONDAY_S + 0.75 * DAY_S))
    assert services.see(demand=5.0).why(0) == "this time of the week has not been seen yet: no floor"
    assert np.isnan(Services(POLICY, [{}]).see(demand=50.0).replicas[0])


def weekly(at_s: float) -> float:
    return 16.0 if (at_s - MONDAY_S) // DAY_S % 7 < 5 else 1.6


def test_weekends_have_their_own_floor() -> None:
    services = lived(WHOLE, 14, weekly)
    assert floor_at(services, MONDAY_S + 19 * DAY_S + 3600) == 1, "a Saturday"
    # Two Sundays were the last days seen: the day's profile says 1, the lower of the two wins until it has seen a working day.
    assert floor_at(services, MONDAY_S + 21 * DAY_S + 3600) == 1
    by_week = lived({**WHOLE, "profile": "week"}, 14, weekly)
    assert floor_at(by_week, MONDAY_S + 21 * DAY_S + 3600) == 10, "a Monday"
    by_day = lived({**WHOLE, "profile": "day"}, 5, weekly)
    assert floor_at(by_day, MONDAY_S + 5 * DAY_S + 3600) == 10, "the first Saturday as the Friday before"


def test_a_bin_of_which_too_little_was_seen_teaches_nothing() -> None:
    def mostly_blind(at_s: float) -> float:
        return 1000.0 if at_s % 300 < 120 else NAN

    services = lived(WHOLE, 1, mostly_blind, step_s=15.0)
    assert np.isnan(floor_at(services, MONDAY_S + DAY_S + 3600))


def test_gaps_neither_teach_nor_forget() -> None:
    services = lived(WHOLE, 2, lambda at_s: NAN if at_s >= MONDAY_S + DAY_S else 16.0)
    assert floor_at(services, MONDAY_S + 3 * DAY_S) == 10


def test_learning_forgets_slowly() -> None:
    services = lived(
        {"share": 1.0, "learning": 0.25, "profile": "day"}, 2, lambda at_s: 16.0 if at_s < MONDAY_S + DAY_S else 32.0
    )
    assert floor_at(services, MONDAY_S + 2 * DAY_S + 3600) == np.ceil((0.75 * 16 + 0.25 * 32) / 1.6)


@pytest.mark.parametrize(("zone", "at_seven_utc", "at_eight_utc"), [("Europe/Berlin", 10, 1), ("UTC", 1, 10)])
def test_when_the_clock_is_set_forward_the_local_hours_stay(zone: str, at_seven_utc: float, at_eight_utc: float) -> None:
    saturday_s = datetime(2025, 3, 29, tzinfo=UTC).timestamp()  # Berlin's clock goes forward on the 30th at 1:00 UTC

    def at_nine_in_berlin(at_s: float) -> float:
        return 16.0 if 8 <= at_s / 3600 % 24 < 9 else 1.6  # winter time: 8:00 to 9:00 UTC

    services = lived({**WHOLE, "profile": "day", "timezone": zone}, 1, at_nine_in_berlin, at_s=saturday_s)
    again = lived({**WHOLE, "profile": "day", "timezone": zone}, 1, at_nine_in_berlin, at_s=saturday_s)
    monday_s = saturday_s + 2 * DAY_S
    assert floor_at(services, monday_s + 7.5 * 3600) == at_seven_utc, "summer time: 7:00 UTC is nine"
    assert floor_at(again, monday_s + 8.5 * 3600) == at_eight_utc


def test_coarse_and_fine_steps_teach_the_same() -> None:
    coarse, fine = lived(WHOLE, 1, by_hour), lived(WHOLE, 1, by_hour, step_s=15.0)
    for hour in (3, 12):
        moment = MONDAY_S + DAY_S + hour * 3600
        assert floor_at(coarse, moment) == floor_at(fine, moment)


def test_its_state_is_small_and_survives_a_restart_to_the_bit() -> None:
    services = lived({}, 1.3, lambda at_s: 10 + 5 * np.sin(at_s / 7000))
    text = json.dumps(services.policy.save())
    assert len(text) < 20_000
    again = Services(POLICY, [{}], interval_s=300.0)
    again.policy.load(json.loads(text))
    again.at_s = services.at_s
    for _ in range(600):
        ours, theirs = services.see(demand=7.0), again.see(demand=7.0)
        np.testing.assert_array_equal(ours.replicas, theirs.replicas)


def test_many_zones_stand_side_by_side() -> None:
    zones = ["UTC", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"]
    together = Services(POLICY, [{**WHOLE, "timezone": zone} for zone in zones], interval_s=300.0, at_s=MONDAY_S)
    alone = [Services(POLICY, [{**WHOLE, "timezone": zone}], interval_s=300.0, at_s=MONDAY_S) for zone in zones]
    for _ in range(400):
        demand = 16.0 if hour_of(together.at_s) < 12 else 3.2
        answer = together.see(demand=demand)
        for row, service in enumerate(alone):
            np.testing.assert_array_equal(service.see(demand=demand).replicas[0], answer.replicas[row])


def test_an_unknown_time_zone_is_said() -> None:
    for name in ("Europe/Nowhere", "../etc/passwd", ""):
        assert complete_params(POLICY, {"timezone": name})[1] == [
            f"timezone: '{name}' is no IANA time zone; such as UTC or Europe/Berlin"
        ]


def test_it_never_stands_alone() -> None:
    assert not POLICY.alone


def test_a_week_moves_with_its_service() -> None:
    services = lived(WHOLE, 1, by_hour)
    params, _ = complete_params(POLICY, WHOLE)
    services.policy.rearrange(np.array([-1, 0]), stack_params(POLICY, [params, params]))
    services.forget_signals(2)
    answer = services.see(after_s=12 * 3600, demand=[1.0, 1.0])
    assert np.isnan(answer.replicas[0])
    assert answer.replicas[1] == 10
