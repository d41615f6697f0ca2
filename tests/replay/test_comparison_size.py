"""A comparison's page is as small for a year of ticks as for a day, and its peaks stay: fed with made courses, without a replay."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from replay.compare import Comparison, Row
from replay.plugins import policy_ref
from replay.report.comparison import comparison_page
from replay.report.pictures import Course, picture
from replay.report.room import room_for
from replay.report.words import Said
from replay.run import run_replay
from tests.replay.made import manifests, noise, scenario, series

TICK_S = 15
YEAR = 365 * 86_400 // TICK_S
WORDS = "reactive: demand 1234.5/s needs capacity 1301.4/s at 1.6/s a replica: 814; backlog 5321 requests in 30 s adds 112; " * 2


def course(seed: int, ticks: int, peak_at: int) -> Course:
    """Everything is as noisy as can be, and worst at one moment: queue, wait and demand peak for a single tick, where replicas drop."""
    columns = {
        name: (1000 * noise(seed + place, ticks)).round(2)
        for place, name in enumerate(("demand", "ready", "desired", "paid", "nodes", "queue", "wait"))
    }
    for name in ("demand", "queue", "wait"):
        columns[name][peak_at] = 98_765.0
    columns["ready"][peak_at] = -1.0
    late = np.zeros(ticks)
    for place in (peak_at, peak_at // 2, peak_at // 3):
        late[place] = place
    return Course(
        service=f"models/service-{seed}",
        capacity_per_s=1.6,
        allowed_s=5.0,
        judged="queue_wait_s",
        signal="queue_wait_s",
        tick_s=TICK_S,
        from_tick=0,
        columns=columns,
        late_by_tick=late,
        said=lambda first, last: [Said(first, f"{first} {WORDS}"), Said(last - 1, f"{last} {WORDS}")],
    )


@pytest.fixture(scope="module")
def score() -> dict[str, Any]:
    """A real score, so that the page has all it needs."""
    return run_replay(manifests(), scenario(), series(np.full(60, 600.0)), policy=policy_ref("fixed:replicas=30")).score


def page_of(score: dict[str, Any], ticks: int, traces: int, policies: int, services: int) -> str:
    """Each trace has demands of its own, each run courses of its own; nothing is shared but what real runs share."""
    room = room_for(traces * policies, services)
    made = [picture(course(seed, ticks, ticks * 2 // 3), room.buckets) for seed in range(4)]
    rows = []
    for trace in range(traces):
        for policy in range(policies):
            shown = [made[(trace + policy + number) % len(made)] for number in range(room.services)]
            # A tenth of a request more or less: other demands, no longer ones.
            demands = [
                [round(value + trace / 10 + number / 100, 2) for value in one["demand"]] for number, one in enumerate(shown)
            ]
            rows.append(
                Row(
                    score={**score, "trace": f"trace-{trace}", "policy": f"policy-{policy}"},
                    start_s=0.0,
                    pictures=[{**one, "demand": demand} for one, demand in zip(shown, demands, strict=True)],
                )
            )
    return comparison_page(Comparison(rows=rows, traces=[f"trace-{trace}" for trace in range(traces)]))


@pytest.mark.parametrize(
    ("traces", "policies", "services"), [(1, 1, 1), (7, 5, 1), (35, 1, 1), (5, 5, 8), (1, 2, 100), (12, 10, 100), (300, 1, 1)]
)
def test_a_page_stays_under_two_megabytes(score: dict[str, Any], traces: int, policies: int, services: int) -> None:
    assert len(page_of(score, 50_000, traces, policies, services)) < 2_000_000


def test_a_year_of_ticks_takes_no_more_than_a_day_of_them(score: dict[str, Any]) -> None:
    day, year = (len(page_of(score, ticks, 7, 5, 1)) for ticks in (86_400 // TICK_S, YEAR))
    assert year < 1.1 * day  # later seconds have more digits


def test_a_year_keeps_its_one_bad_tick() -> None:
    peak_at = YEAR * 2 // 3 + 7
    for room in (room_for(1, 1), room_for(120, 100)):
        shown = picture(course(1, YEAR, peak_at), room.buckets)
        bucket_s = YEAR * TICK_S / room.buckets
        for name, values in {"demand": shown["demand"], **shown["curves"]}.items():
            if name in ("demand", "queue", "wait"):
                assert max(values) == pytest.approx(98_765, rel=1e-3), name
                assert abs(shown["times_s"][int(np.argmax(values))] - peak_at * TICK_S) <= bucket_s, name
        assert min(shown["curves"]["ready"]) == -1
        worst = shown["worst"][0]
        assert worst["from_s"] == peak_at * TICK_S
        assert (worst["queue"], worst["ready"][0]) == (98_765, -1)
        assert max(worst["detail"]["queue"]) == pytest.approx(98_765, rel=1e-3)
        assert min(worst["detail"]["ready"]) == -1


def test_the_worst_ten_minutes_keep_their_peak_in_a_loop_of_two_seconds() -> None:
    """900 ticks in 240 points: the one that was bad is among them."""
    shown = picture(replace(course(2, 5_000, 3_001), tick_s=2), 700)
    detail = shown["worst"][0]["detail"]
    assert len(detail["times_s"]) == len(detail["queue"]) == 240
    assert max(detail["queue"]) == pytest.approx(98_765, rel=1e-3)
    assert min(detail["ready"]) == -1


def test_fewer_services_are_drawn_before_curves_get_coarse() -> None:
    assert room_for(1, 1).buckets == room_for(10, 1).buckets == 700
    assert room_for(4, 100).services == 8
    many = room_for(60, 100)
    assert 1 <= many.services < 8
    assert many.buckets >= 60
