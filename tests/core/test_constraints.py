"""Each constraint against vectors worked out by hand; HPA v2's windows and rate limits with HPA's words and arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.constraints import ORDER, Constraint, Context
from autoscaler.core.history import History
from autoscaler.core.model import (
    Fallback,
    Fleet,
    Floats,
    Pause,
    PoolSpec,
    RatePolicy,
    Readings,
    ScalingRules,
    ScalingSpec,
    Schedule,
    SignalColumn,
)
from autoscaler.core.signals import SignalState
from autoscaler.core.table import Table
from tests.ticks import HPA_DOWN, HPA_UP, a_spec

BY_NAME = {constraint.name: constraint for constraint in ORDER}
NAN = float("nan")
NOW_S = 1_750_000_000.0


def rules(*policies: tuple[str, int, float], window_s: float = 0.0, select: str = "Max") -> ScalingRules:
    made = tuple(RatePolicy(kind=kind, value=value, period_s=period_s) for kind, value, period_s in policies)  # type: ignore[arg-type]
    return ScalingRules(stabilization_s=window_s, select=select, policies=made)  # type: ignore[arg-type]


def a_fleet(specs: Sequence[ScalingSpec], **changes: Any) -> Fleet:
    n = len(specs)
    columns: dict[str, Any] = {name: np.zeros(n, dtype=np.int64) for name in ("starting", "draining")}
    columns["current"] = np.full(n, 10)
    for name in ("current", "ready", "starting", "draining"):
        if name in changes:
            columns[name] = np.array(changes.pop(name), dtype=np.int64)
    columns.setdefault("ready", columns["current"] - columns["starting"])
    fleet = Fleet(
        revision=1,
        specs=tuple(specs),
        lead_time_s=np.full(n, 120.0),
        node_lead_time_s=np.full(n, 180.0),
        hands_off=np.zeros(n, dtype=np.bool_),
        **columns,
    )
    return replace(fleet, **changes)


def past(n: int, entries: Sequence[tuple[float, Sequence[float]]]) -> History:
    """A history of columns by age: (seconds ago, values), oldest first."""
    history = History(n, 200)
    for age_s, values in entries:
        history.push(NOW_S - age_s, np.array(values, dtype=np.float64))
    return history


def readings_of(**signals: Any) -> Readings:
    """Signals now; NaN is unknown, None was not read."""
    columns = {}
    for name, values in signals.items():
        if values is not None:
            state = np.where(np.isnan(values), SignalState.UNKNOWN, SignalState.KNOWN).astype(np.int8)
            columns[name] = SignalColumn(values=values, age_s=np.zeros(len(values)), state=state)
    return Readings(at_s=NOW_S, signals=columns)


def a_context(specs: Sequence[ScalingSpec], fleet: Fleet, at_s: float = NOW_S, **changes: Any) -> Context:
    n = len(specs)
    table = Table(fleet)
    table.move_bounds(at_s)
    blind = np.array(changes.pop("blind", [False] * n), dtype=np.bool_)
    partial = np.array(changes.pop("partial", [False] * n), dtype=np.bool_)
    base = Context(
        at_s=at_s,
        interval_s=15.0,
        fleet=fleet,
        table=table,
        recommended=np.full(n, 10.0),
        last_desired=fleet.current,
        blind_since_s=np.full(n, NAN),
        blind=blind,
        any_blind=bool(blind.any()),
        partial=partial,
        any_partial=bool(partial.any()),
        settling=None,
        updating=None,
        relative=None,
        any_starting=bool(fleet.starting.any()),
        any_at_zero=not fleet.current.all(),
        any_none_ready=not fleet.ready.all(),
        idleness=None,
        readings=readings_of(demand=changes.pop("demand_per_s", None), queue=changes.pop("queue", None)),
        wishes=None,
        changes=None,
    )
    return replace(base, **changes)


def limited(name: str, context: Context, counts: Sequence[int]) -> list[int]:
    """The counts after one constraint, and its words for every row it changed are a sentence."""
    constraint = BY_NAME[name]
    before = np.array(counts, dtype=np.int64)
    if not constraint.active(context):
        return list(counts)
    untouched = before.copy()
    after = constraint.limit(context, before)
    np.testing.assert_array_equal(before, untouched, err_msg="it only reads its counts")
    assert after.dtype == np.int64
    for row in np.flatnonzero(after != before):
        words = constraint.why(context, int(row), int(before[row]), int(after[row]))
        assert str(after[row]) in words
        assert "nan" not in words
    return [int(count) for count in after]


def one(name: str, wanted: int, current: int, spec: ScalingSpec, **changes: Any) -> int:
    fleet_changes = {key: changes.pop(key) for key in ("ready", "starting", "draining", "paused") if key in changes}
    fleet = a_fleet([spec], current=[current], **fleet_changes)
    return limited(name, a_context([spec], fleet, **changes), [wanted])[0]


# ---------------------------------------------------------------- stabilization windows (HPA, step 6)


def stabilized(wanted: int, current: int, wishes: Sequence[tuple[float, float]], up_s: float, down_s: float) -> int:
    spec = a_spec(scale_up=rules(window_s=up_s), scale_down=rules(window_s=down_s))
    return one("Stabilized", wanted, current, spec, wishes=past(1, [(age, [count]) for age, count in wishes]))


@pytest.mark.parametrize(
    ("wanted", "current", "wishes", "expected"),
    [
        (4, 10, [(285, 8), (150, 6)], 8),  # the highest of the window
        (4, 10, [(285, 12), (150, 6)], 10),  # …but never above the current count: shrinking only
        (4, 10, [(300, 9), (150, 6)], 6),  # exactly as old as the window is out of it
        (4, 10, [], 4),
        (4, 10, [(290, NAN), (150, 5)], 5),  # a blind tick was no wish
        (14, 10, [(285, 8)], 14),  # growing isn't held by the down window
    ],
)
def test_down_window(wanted: int, current: int, wishes: list[tuple[float, float]], expected: int) -> None:
    assert stabilized(wanted, current, wishes, up_s=0, down_s=300) == expected


@pytest.mark.parametrize(
    ("wanted", "current", "wishes", "expected"),
    [
        (20, 10, [(45, 14), (30, 12), (15, 18)], 12),  # the lowest of the window
        (20, 10, [(45, 8)], 10),  # …but never below the current count
        (20, 10, [(60, 11), (15, 18)], 18),
        (5, 10, [(15, 8)], 5),  # shrinking isn't held by the up window
    ],
)
def test_up_window(wanted: int, current: int, wishes: list[tuple[float, float]], expected: int) -> None:
    assert stabilized(wanted, current, wishes, up_s=60, down_s=0) == expected


@given(
    st.lists(st.integers(0, 50), max_size=6),
    st.integers(0, 50),
    st.integers(0, 50),
    st.sampled_from([0, 30, 60]),
    st.sampled_from([0, 30, 60]),
)
def test_windows_are_hpas(wishes: list[int], wanted: int, current: int, up_s: int, down_s: int) -> None:
    """horizontal.go, stabilizeRecommendationWithBehaviors, line by line."""
    aged = [(15.0 * (len(wishes) - i), float(count)) for i, count in enumerate(wishes)]
    up_recommendation = min([wanted, *(int(count) for age, count in aged if age < up_s)])
    down_recommendation = max([wanted, *(int(count) for age, count in aged if age < down_s)])
    expected = current
    if expected < up_recommendation:
        expected = up_recommendation
    if expected > down_recommendation:
        expected = down_recommendation
    assert stabilized(wanted, current, aged, float(up_s), float(down_s)) == expected


def test_each_row_has_its_own_windows() -> None:
    specs = [a_spec(f"s{window}", scale_down=rules(window_s=window)) for window in (0.0, 60.0, 300.0)]
    context = a_context(specs, a_fleet(specs), wishes=past(3, [(285, [9, 9, 9]), (45, [7, 7, 7])]))
    assert limited("Stabilized", context, [4, 4, 4]) == [4, 7, 9]


# ---------------------------------------------------------------- rate limits (HPA, step 6)


@pytest.mark.parametrize(
    ("current", "up", "wanted", "expected"),
    [
        (10, rules(("Pods", 4, 15), ("Percent", 100, 15)), 100, 20),  # Max of 14 and 20
        (2, rules(("Pods", 4, 15), ("Percent", 100, 15)), 100, 6),
        (10, rules(("Pods", 4, 15), ("Percent", 100, 15), select="Min"), 100, 14),
        (10, rules(("Pods", 4, 15), select="Disabled"), 100, 10),
        (10, rules(), 100, 100),  # no policies, no limit
        (3, rules(("Percent", 10, 60)), 100, 4),  # ⌈3.3⌉
        (10, rules(("Percent", 10, 60)), 100, 11),
        (100, rules(("Percent", 10, 60)), 200, 111),  # 100 × 1.1 is 110.00000000000001 in floating point, and so in HPA
        (1, rules(("Percent", 1, 60)), 100, 2),
        (0, rules(("Percent", 100, 15)), 100, 0),  # a percentage of nothing
        (10, rules(("Pods", 4, 15)), 12, 12),
    ],
)
def test_growing(current: int, up: ScalingRules, wanted: int, expected: int) -> None:
    assert one("RateLimit", wanted, current, a_spec(scale_up=up)) == expected


@pytest.mark.parametrize(
    ("current", "down", "wanted", "expected"),
    [
        (10, rules(("Percent", 100, 15)), 0, 0),
        (10, rules(("Pods", 3, 60)), 0, 7),
        (10, rules(("Percent", 10, 60)), 0, 9),
        (5, rules(("Percent", 10, 60)), 0, 4),  # truncated: 4.5 → 4
        (10, rules(("Pods", 3, 60), ("Percent", 50, 60)), 0, 5),  # Max change: the lower count
        (10, rules(("Pods", 3, 60), ("Percent", 50, 60), select="Min"), 0, 7),
        (10, rules(("Percent", 100, 15), select="Disabled"), 0, 10),
        (10, rules(("Pods", 3, 60)), 8, 8),
    ],
)
def test_shrinking(current: int, down: ScalingRules, wanted: int, expected: int) -> None:
    assert one("RateLimit", wanted, current, a_spec(scale_down=down)) == expected


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ([(15, 2)], 12),  # 10 now, 2 added since: started from 8, may reach 12
        ([(60, 2)], 14),  # exactly a period ago is over
        ([(45, 2), (15, 3)], 10),  # 5 added: started from 5, may reach 9, but a limit never shrinks
        ([(45, -3), (15, 1)], 16),  # 2 fewer on balance: started from 12
        ([(45, NAN), (15, 2)], 12),
    ],
)
def test_a_period_starts_from_the_count_that_was_then(changed: list[tuple[float, float]], expected: int) -> None:
    spec = a_spec(scale_up=rules(("Pods", 4, 60)))
    assert one("RateLimit", 100, 10, spec, changes=past(1, [(age, [n]) for age, n in changed])) == expected


@given(
    st.integers(0, 60), st.integers(0, 100), st.lists(st.integers(-4, 4), max_size=5), st.sampled_from(["Max", "Min"]),
    st.integers(1, 20), st.integers(1, 200), st.sampled_from([15, 30, 60]), st.sampled_from([15, 45]),
)  # fmt: skip
def test_rates_are_hpas(
    current: int, wanted: int, changed: list[int], select: str, pods: int, percent: int, pods_s: int, percent_s: int
) -> None:
    """horizontal.go, calculateScaleUpLimitWithScalingRules and its counterpart, line by line."""
    aged = [(15.0 * (len(changed) - i), float(count)) for i, count in enumerate(changed)]
    up_limits, down_limits = [], []
    for kind, value, period_s in (("Pods", pods, pods_s), ("Percent", percent, percent_s)):
        added = sum(int(count) for age, count in aged if age < period_s and count > 0)
        deleted = -sum(int(count) for age, count in aged if age < period_s and count < 0)
        start = current - added + deleted
        up_limits.append(start + value if kind == "Pods" else int(np.ceil(start * (1 + value / 100))))
        down_limits.append(start - value if kind == "Pods" else int(start * (1 - value / 100)))
    expected = wanted
    if wanted > current:
        expected = min(wanted, max((max if select == "Max" else min)(up_limits), current))
    elif wanted < current:
        expected = max(wanted, min((min if select == "Max" else max)(down_limits), current))
    both = rules(("Pods", pods, pods_s), ("Percent", percent, percent_s), select=select)
    changes = past(1, [(age, [n]) for age, n in aged])
    assert one("RateLimit", wanted, current, a_spec(scale_up=both, scale_down=both), changes=changes) == expected


# ---------------------------------------------------------------- blindness


@pytest.mark.parametrize(
    ("fallback", "held", "expected"),
    [
        (Fallback(after_s=600, action="Hold"), 8, 8),
        (Fallback(after_s=600, action="AtLeast", replicas=12), 8, 12),
        (Fallback(after_s=600, action="AtLeast", replicas=5), 8, 8),
        (Fallback(after_s=600, action="Exactly", replicas=3), 8, 3),
        (Fallback(after_s=601, action="Exactly", replicas=3), 8, 8),  # not yet
        (Fallback(after_s=0, action="Exactly", replicas=None), 8, 8),
    ],
)
def test_fallback_after_its_time(fallback: Fallback, held: int, expected: int) -> None:
    spec = a_spec(fallback=fallback)
    assert one("Fallback", held, 8, spec, blind=[True], blind_since_s=np.array([NOW_S - 600])) == expected
    assert one("Fallback", held, 8, spec, blind=[False]) == held


def test_windows_and_rates_leave_a_blind_row_to_its_fallback() -> None:
    spec = a_spec(scale_up=HPA_UP, scale_down=HPA_DOWN, fallback=Fallback(after_s=0, action="Exactly", replicas=2))
    wishes = past(1, [(15, [10])])
    assert one("Stabilized", 2, 10, spec, blind=[True], wishes=wishes) == 2
    assert one("RateLimit", 40, 10, spec, blind=[True]) == 40


def test_partial_data_may_grow_but_not_shrink() -> None:
    specs = [a_spec(f"s{i}") for i in range(4)]
    context = a_context(specs, a_fleet(specs), partial=[True, True, False, True], blind=[False, False, False, True])
    assert limited("PartialData", context, [7, 13, 7, 7]) == [10, 13, 7, 7]


def test_a_service_met_moments_ago_does_not_shrink() -> None:
    specs = [a_spec("a"), a_spec("b")]
    context = a_context(specs, a_fleet(specs), settling=np.array([True, False]))
    assert limited("Settling", context, [7, 7]) == [10, 7]


# ---------------------------------------------------------------- starting replicas


@pytest.mark.parametrize(
    ("wanted", "starting", "demand", "queue", "expected"),
    [
        (100, 4, 16.0, 0.0, 20),  # 10 justified
        (100, 4, 16.0, 240.0, 30),  # a backlog of 240 in 30 s are 5 more
        (100, 4, NAN, 0.0, 12),  # unknown: twice what is ready
        (15, 4, 16.0, 0.0, 15),
        (100, 0, 16.0, 0.0, 100),  # nothing on its way
        (8, 4, 16.0, 0.0, 8),  # shrinking is another matter
        (100, 4, 1.0, 0.0, 10),  # never below what is there
    ],
)
def test_what_is_starting_counts_as_coming(wanted: int, starting: int, demand: float, queue: float, expected: int) -> None:
    columns = {"demand_per_s": np.array([demand]), "queue": np.array([queue]), "relative": np.array([True])}
    assert one("StartingReplicas", wanted, 10, a_spec(), starting=[starting], **columns) == expected
    assert one("StartingReplicas", wanted, 10, a_spec(), starting=[starting]) == wanted, "an absolute count has them in it"


def test_a_small_service_may_grow_at_all_while_its_first_replica_starts() -> None:
    assert one("StartingReplicas", 9, 1, a_spec(), starting=[1], ready=[0], relative=np.array([True])) == 4


# ---------------------------------------------------------------- draining, bounds, multiples, zero


def test_only_so_many_drain_at_once() -> None:
    spec = a_spec(drain_max_at_once=3)
    assert one("DrainLimit", 2, 10, spec) == 7
    assert one("DrainLimit", 2, 10, spec, draining=[2]) == 9
    assert one("DrainLimit", 2, 10, spec, draining=[5]) == 10
    assert one("DrainLimit", 12, 10, spec, draining=[5]) == 12
    assert one("DrainLimit", 2, 10, a_spec()) == 2


H100 = PoolSpec(name="h100", min_nodes=0, max_nodes=99, accelerators_per_node=8)


def emptied(wanted: int, current: int, spec: ScalingSpec, *pools: PoolSpec, **changes: Any) -> int:
    fleet = a_fleet([spec], current=[current], pools=pools)
    return limited("WholeNodes", a_context([spec], fleet, **changes), [wanted])[0]


@pytest.mark.parametrize(
    ("wanted", "current", "expected"),
    [
        (17, 20, 20),
        (16, 20, 16),
        (13, 20, 16),
        (8, 20, 8),
        (1, 20, 8),
        (1, 8, 8),
        (0, 8, 0),
        (3, 6, 6),
        (22, 20, 22),
        (20, 20, 20),
    ],
)
def test_replicas_leave_in_numbers_that_empty_a_node(wanted: int, current: int, expected: int) -> None:
    assert emptied(wanted, current, a_spec(pool="h100", drain_whole_nodes=True), H100) == expected


def test_what_fills_a_node_follows_from_pool_and_replica() -> None:
    two_each = a_spec(pool="h100", drain_whole_nodes=True, accelerators_per_replica=2)
    assert emptied(13, 20, two_each, H100) == 16
    assert emptied(13, 20, two_each, replace(H100, accelerators_per_node=4)) == 14
    # A replica of a node or more empties nodes whenever it goes; of a pool that isn't there nobody knows.
    assert emptied(13, 20, a_spec(pool="h100", drain_whole_nodes=True, accelerators_per_replica=16), H100) == 13
    assert emptied(13, 20, a_spec(pool="h100", drain_whole_nodes=True, accelerators_per_replica=0), H100) == 13
    assert emptied(13, 20, a_spec(pool="gone", drain_whole_nodes=True), H100) == 13
    assert emptied(13, 20, a_spec(pool="h100"), H100) == 13
    assert emptied(13, 20, a_spec(pool="h100", drain_whole_nodes=True), H100, blind=[True]) == 13


def test_a_node_is_emptied_step_by_step_where_only_so_many_may_drain_at_once() -> None:
    spec = a_spec(pool="h100", drain_whole_nodes=True, drain_max_at_once=3)
    counts, current = [], 20
    for wanted in (13, 13, 10, 12, 8, 5, 5, 5):
        fleet = a_fleet([spec], current=[current], pools=(H100,))
        current = limited("DrainLimit", a_context([spec], fleet), limited("WholeNodes", a_context([spec], fleet), [wanted]))[0]
        counts.append(current)
    assert counts == [17, 16, 16, 16, 13, 10, 8, 8]


def test_bounds() -> None:
    spec = a_spec(min_replicas=3, max_replicas=20)
    assert [one("Bounds", count, 10, spec) for count in (0, 3, 11, 20, 99)] == [3, 3, 11, 20, 20]


def test_a_schedule_moves_the_bounds_and_is_named() -> None:
    night = Schedule(
        name="night",
        timezone="Europe/Berlin",
        days=frozenset(range(7)),
        start_minute=22 * 60,
        end_minute=6 * 60,
        min_replicas=0,
        max_replicas=4,
    )
    spec = a_spec(min_replicas=3, max_replicas=20, schedules=(night,))
    midnight, noon = (datetime(2025, 6, 16, hour, tzinfo=UTC).timestamp() for hour in (23, 12))
    assert [one("Bounds", 9, 10, spec, at_s=at_s) for at_s in (midnight, noon)] == [4, 9]
    context = a_context([spec], a_fleet([spec]), at_s=midnight)
    assert BY_NAME["Bounds"].why(context, 0, 9, 4) == "maxReplicas is 4 (schedule 'night'), not 9"


@pytest.mark.parametrize(("wanted", "expected"), [(1, 4), (4, 4), (5, 8), (18, 20), (21, 20), (0, 0)])
def test_multiples_round_up_but_not_beyond_the_maximum(wanted: int, expected: int) -> None:
    assert one("ReplicaMultiple", wanted, 10, a_spec(replica_multiple=4, max_replicas=22)) == expected


def test_zero_replicas_by_hand_switch_scaling_off_but_our_own_zero_does_not() -> None:
    assert one("ScalingDisabled", 5, 0, a_spec(min_replicas=1)) == 0
    assert one("ScalingDisabled", 5, 0, a_spec(min_replicas=0)) == 5
    day = Schedule(name="day", timezone="UTC", days=frozenset(range(7)), start_minute=0, end_minute=0, min_replicas=2)
    specs = [a_spec("other", min_replicas=1), a_spec("asleep", min_replicas=0, schedules=(day,))]
    context = a_context(specs, a_fleet(specs, current=[5, 0]))
    assert limited("ScalingDisabled", context, [5, 2]) == [5, 2], "the schedule's minimum wakes it"


# ---------------------------------------------------------------- pauses

PAUSES = {direction: Pause(direction=direction, until_s=None, reason="release") for direction in ("Both", "Up", "Down")}


@pytest.mark.parametrize(
    ("own", "cluster", "expected"),
    [
        ("Both", None, [10, 10]),
        ("Up", None, [7, 10]),
        ("Down", None, [10, 14]),
        (None, "Both", [10, 10]),
        (None, "Up", [7, 10]),
        (None, "Down", [10, 14]),
        ("Up", "Down", [10, 10]),  # both hold
        ("Down", "Up", [10, 10]),
        ("Both", "Up", [10, 10]),
        ("Up", "Up", [7, 10]),
    ],
)
def test_a_pause_stops_its_direction(own: str | None, cluster: str | None, expected: list[int]) -> None:
    spec = a_spec(pause=PAUSES[own] if own else None)
    got = [one("Paused", count, 10, spec, paused=PAUSES[cluster] if cluster else None) for count in (7, 14)]
    assert got == expected


def test_a_pause_expires() -> None:
    spec = a_spec(pause=Pause(direction="Both", until_s=NOW_S))
    assert one("Paused", 7, 10, spec) == 7
    assert one("Paused", 7, 10, spec, at_s=NOW_S - 1) == 10
    assert one("Paused", 7, 10, a_spec(), paused=Pause(direction="Both", until_s=NOW_S)) == 7


def test_a_pause_says_whose_it_is_and_why() -> None:
    spec = a_spec(pause=Pause(direction="Down", until_s=None))
    fleet = a_fleet([spec], paused=PAUSES["Both"])
    context = a_context([spec], fleet)
    assert BY_NAME["Paused"].why(context, 0, 7, 10) == (
        "changes paused for the whole cluster: release and shrinking paused for this object: 10, not 7"
    )


# ---------------------------------------------------------------- all of them, in order

counts = st.integers(0, 40)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Context, Floats]:
    """A fleet of one to three services in any state, and the counts that the policies and the hold begin with."""
    n = draw(st.integers(1, 3))
    windows, selects = st.sampled_from([0.0, 60.0, 300.0]), st.sampled_from(["Max", "Disabled"])
    specs = []
    for row in range(n):
        low = draw(st.integers(0, 5))
        specs.append(
            a_spec(
                f"s{row}",
                min_replicas=low,
                max_replicas=draw(st.integers(max(low, 1), 30)),
                scale_up=rules(("Pods", draw(st.integers(1, 9)), 60), window_s=draw(windows)),
                scale_down=rules(
                    ("Percent", draw(st.integers(1, 100)), 15),
                    window_s=draw(windows),
                    select=draw(selects),
                ),
                fallback=Fallback(
                    after_s=60, action=draw(st.sampled_from(["Hold", "AtLeast", "Exactly"])), replicas=draw(counts)
                ),
                pause=draw(st.sampled_from([None, *PAUSES.values()])),
                drain_max_at_once=draw(st.integers(0, 3)),
            )
        )
    rows = st.lists(counts, min_size=n, max_size=n)
    flags = st.lists(st.booleans(), min_size=n, max_size=n)
    fleet = a_fleet(specs, current=draw(rows), starting=draw(rows), draining=draw(rows), ready=draw(rows))
    blind = np.array(draw(flags))
    wishes = past(n, [(15.0 * age, draw(rows)) for age in range(6, 0, -1)])
    changed = past(n, [(15.0 * age, draw(rows)) for age in range(4, 0, -1)])
    context = a_context(
        specs,
        fleet,
        blind=blind,
        partial=draw(flags),
        blind_since_s=np.where(blind, NOW_S - draw(st.sampled_from([0, 100])), NAN),
        settling=np.array(draw(flags)),
        relative=np.array(draw(flags)),
        demand_per_s=np.array(draw(rows), dtype=np.float64),
        wishes=wishes,
        changes=changed,
    )
    wanted = np.array(draw(rows), dtype=np.int64)
    return context, np.where(blind, fleet.current, wanted)


def run(context: Context, start: Any, order: Sequence[Constraint] = ORDER) -> Any:
    for constraint in order:
        if constraint.active(context):
            start = constraint.limit(context, start)
    return start


@given(worlds())
def test_never_outside_the_bounds_unless_paused_or_switched_off(world: tuple[Context, Any]) -> None:
    context, start = world
    after = run(context, start)
    for row, spec in enumerate(context.table.specs):
        current = context.fleet.current[row]
        if spec.pause is None and current > 0:
            assert spec.min_replicas <= after[row] <= spec.max_replicas
        assert after[row] >= 0


@given(worlds())
def test_unknown_never_shrinks_but_by_the_owners_word(world: tuple[Context, Any]) -> None:
    context, start = world
    after = run(context, start)
    for row, spec in enumerate(context.table.specs):
        current = context.fleet.current[row]
        exactly = context.blind[row] and spec.fallback.action == "Exactly"
        if (context.blind[row] or context.partial[row]) and not exactly:
            assert after[row] >= min(current, spec.max_replicas)


@given(worlds())
def test_a_pause_holds(world: tuple[Context, Any]) -> None:
    context, start = world
    after = run(context, start)
    for row, spec in enumerate(context.table.specs):
        current = context.fleet.current[row]
        if spec.pause is not None and spec.pause.direction in ("Both", "Up"):
            assert after[row] <= current
        if spec.pause is not None and spec.pause.direction in ("Both", "Down"):
            assert after[row] >= current


@given(worlds())
def test_a_row_of_many_is_limited_as_alone(world: tuple[Context, Any]) -> None:
    context, start = world
    together = run(context, start)
    for row, spec in enumerate(context.table.specs):
        pick = slice(row, row + 1)
        fleet = a_fleet(
            [spec], **{name: getattr(context.fleet, name)[pick] for name in ("current", "ready", "starting", "draining")}
        )
        columns = {name: getattr(context, name)[pick] for name in ("blind_since_s", "settling", "relative")}
        columns["demand_per_s"] = context.readings.signals["demand"].values[pick]
        index = np.array([row])
        alone = a_context(
            [spec], fleet, blind=context.blind[pick], partial=context.partial[pick],
            wishes=context.wishes.rearranged(index) if context.wishes else None,
            changes=context.changes.rearranged(index) if context.changes else None, **columns,
        )  # fmt: skip
        assert run(alone, start[pick]).tolist() == together[pick].tolist()


@given(worlds(), st.integers(0, 20))
def test_a_higher_wish_never_ends_lower(world: tuple[Context, Any], more: int) -> None:
    context, start = world
    assert (run(context, start + more) >= run(context, start)).all()
