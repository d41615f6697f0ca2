"""What is learnt of a replica's capacity, from services that serve as the batch model says and from any nonsense that signals may hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from autoscaler.core.capacity_estimate import ENOUGH, Estimates
from autoscaler.core.capacity_samples import Look, Sampler, Samples
from tests.core.serving import SLOTS, SLOWDOWN, STEP_S, Serving

NAN = float("nan")
SHOWN = {
    "counted": ("demand", "throughput", "running", "queue"),
    "by what is inside": ("demand", "running", "queue"),
    "without a queue": ("demand", "throughput", "running"),
}


@pytest.mark.parametrize("shown", SHOWN.values(), ids=SHOWN)
@pytest.mark.parametrize("load", [0.5, 0.75, 0.97])
@pytest.mark.parametrize("truth", [0.6, 0.85, 1.0, 1.3, 1.6])
def test_a_wrong_value_is_mended_in_an_hour_of_load(truth: float, load: float, shown: tuple[str, ...]) -> None:
    serving = Serving(1.6 * truth, shown=shown)
    assert serving.confidence == 0.0
    serving.run(1.0, load * 4 * 1.6 * truth)
    assert abs(serving.error) < 0.05
    assert serving.confidence > 0.8


def test_saturated_replicas_teach_the_ceiling_in_minutes() -> None:
    serving = Serving(1.0)
    serving.run(0.1, 8.0)
    assert abs(serving.error) < 0.1
    serving.run(0.2, 8.0)
    assert abs(serving.error) < 0.02


def test_where_a_cache_is_full_before_the_slots_are_the_queue_tells_that_it_is() -> None:
    serving = Serving(1.6, slots=12.0)  # the manifest says 32
    serving.run(1.0, 12.0)
    assert abs(serving.error) < 0.02


def test_idle_and_light_replicas_never_lower_it() -> None:
    serving = Serving(1.6)
    serving.run(1.0, 5.0)
    serving.chance = False
    serving.step(0.0)  # what was in flight ends in this one
    before = serving.learnt, serving.confidence
    serving.capacity_per_s = 0.9  # even where it is lower now: light batches tell too little
    for demand in (0.0, 0.001, 0.1, 1.0):
        serving.run(3.0, demand)
        assert (serving.learnt, serving.confidence) == before


@given(
    done=st.lists(st.floats(0.0, 40.0), min_size=1, max_size=60),
    share=st.floats(0.0, 0.3),
    learnt=st.booleans(),
)
@example(done=[1.0], share=5e-324, learnt=False)
def test_no_light_sample_lowers_it(done: list[float], share: float, learnt: bool) -> None:
    serving = Serving(1.6)
    if learnt:
        serving.run(0.5, 5.0)
    estimates = serving.estimates
    for count in done:
        before = serving.learnt
        one = np.ones(1)
        estimates.learn(Samples(done=count * one, exposure=4 * STEP_S * share * one, share=share * one, step_s=STEP_S * one))
        assert serving.learnt >= before


def test_a_far_too_low_value_does_not_keep_itself_up() -> None:
    """With a quarter of the truth there are four times the replicas, which are never busy enough to show it."""
    serving = Serving(1.6, 0.4)
    for _ in range(int(24 * 3600 / STEP_S)):
        demand = 4.0
        serving.ready = max(np.ceil(demand / (0.8 * serving.learnt)), 1.0)
        serving.step(demand)
    assert -0.3 < serving.error < 0.05


def test_drift_is_followed() -> None:
    serving = Serving(1.6)
    serving.run(2.0, 5.0)
    for _ in range(int(6 * 3600 / STEP_S)):
        serving.capacity_per_s *= 1.0 - 0.05 * STEP_S / 3600  # 5 % an hour
        serving.step(4.0)
        assert abs(serving.error) < 0.07


@pytest.mark.parametrize("to", [0.75, 1.5])
def test_another_version_is_followed_in_an_hour_of_load(to: float) -> None:
    serving = Serving(1.6)
    serving.run(12.0, 5.0)
    serving.capacity_per_s = 1.6 * to
    serving.run(1.0, 0.8 * 4 * 1.6 * to)
    assert abs(serving.error) < 0.05


@pytest.mark.parametrize("to", [0.5, 2.0, 2.5])
def test_one_that_is_quite_another_is_noticed_at_once(to: float) -> None:
    serving = Serving(1.6)
    serving.run(12.0, 5.0)
    sure = serving.confidence
    serving.capacity_per_s = 1.6 * to
    lowest = sure
    for _ in range(int(1800 / STEP_S)):
        serving.step(0.8 * 4 * 1.6 * to)
        lowest = min(lowest, serving.confidence)
    assert abs(serving.error) < 0.05
    assert lowest < sure - 0.1
    assert serving.confidence > lowest


def test_chance_is_no_jump() -> None:
    serving = Serving(1.6, n=200, ready=1.0)
    lowest = 1.0
    for number in range(int(16 * 3600 / STEP_S)):
        serving.step(1.0)
        if number > 400:
            lowest = min(lowest, float(serving.estimates.confidence().min()))
    assert lowest > 0.9
    assert np.abs(serving.estimates.mean / 1.6 - 1.0).max() < 0.15


@pytest.mark.parametrize("capacity", [0.02, 1.6, 400.0])
def test_without_a_given_value_it_is_unknown_until_enough_was_seen(capacity: float) -> None:
    serving = Serving(capacity, NAN)
    assert np.isnan(serving.learnt)
    steps = 0
    while np.isnan(serving.learnt):
        serving.step(0.8 * 4 * capacity)
        steps += 1
    assert steps * STEP_S * 4 * capacity > ENOUGH
    assert abs(serving.error) < 0.6
    serving.run(max(1.0, 400.0 / (4 * capacity) / 3600), 0.8 * 4 * capacity)
    assert abs(serving.error) < 0.15
    assert serving.confidence > 0.5


def test_requests_that_come_one_in_many_ticks_are_counted_right() -> None:
    """Each tick alone would say 0 or far too much."""
    serving = Serving(0.02, 0.04, n=400, ready=1.0)
    serving.run(24.0, 0.015)
    assert abs(float(serving.estimates.mean.mean()) / 0.02 - 1.0) < 0.1


def test_replicas_that_finish_nothing_are_broken_not_slow() -> None:
    serving = Serving(1.6)
    serving.run(2.0, 5.0)
    before = serving.learnt
    serving.capacity_per_s = 0.0
    for _ in range(40):
        serving.step(5.0, running=np.full(1, 4 * SLOTS))
    assert serving.learnt == before


def test_a_single_reading_that_lies_moves_little() -> None:
    serving = Serving(1.6)
    serving.run(2.0, 5.0)
    before = serving.learnt
    serving.step(5.0, throughput_per_s=np.full(1, 1e6))
    assert serving.learnt == pytest.approx(before, rel=0.08)
    serving.run(1.0, 5.0)
    assert abs(serving.error) < 0.03


def test_bounds_hold() -> None:
    serving = Serving(1.6, 1.0, bounds=(0.8, 1.2))
    serving.run(2.0, 6.0)
    assert serving.learnt == 1.2
    serving.capacity_per_s = 0.4
    serving.run(2.0, 6.0)
    assert serving.learnt == 0.8


# ---------------------------------------------------------------- which readings tell something


def look(**changes: float) -> Look:
    fields = {
        "throughput_per_s": 5.0, "demand_per_s": 5.0, "running": 80.0, "queue": 0.0, "age_s": 15.0, "span_s": 15.0, "ready": 4.0,
        "draining": 0.0, "slots": SLOTS, "slowdown": SLOWDOWN, "mixed": False,
    }  # fmt: skip
    return Look(**{name: np.array([value]) for name, value in {**fields, **changes}.items()})


def exposures(*looks: tuple[float, Look]) -> list[float]:
    """Of a service that was steady for long, at these moments."""
    sampler = Sampler(1)
    for at_s in np.arange(-600.0, 1.0, 15.0):
        sampler.take(float(at_s), 15.0, look())
    with np.errstate(invalid="ignore"):
        return [float(sampler.take(at_s, 15.0, one).exposure[0]) for at_s, one in looks]


def tells(*looks: tuple[float, Look]) -> list[bool]:
    return [exposure > 0.0 for exposure in exposures(*looks)]


def test_a_steady_service_tells_with_every_reading() -> None:
    assert tells((15.0, look()), (30.0, look())) == [True, True]


@pytest.mark.parametrize("unknown", ["running", "queue", "age_s"])
def test_what_is_unknown_tells_nothing_and_no_more_once_it_is_back_after_long(unknown: str) -> None:
    gone = {unknown: NAN}
    assert tells((15.0, look(**gone)), (30.0, look())) == [False, True]  # one missed reading is bridged
    assert tells(*((15.0 * k, look(**gone)) for k in range(1, 5)), (75.0, look()), (90.0, look()))[-2:] == [False, True]


def test_without_completions_arrivals_and_growth_tell() -> None:
    assert tells((15.0, look(throughput_per_s=NAN)), (30.0, look(throughput_per_s=NAN, demand_per_s=NAN))) == [True, False]


def test_the_same_sample_is_counted_once() -> None:
    # Nothing new is scraped: the reading gets older with the clock.
    assert tells((15.0, look()), (30.0, look(age_s=30.0)), (45.0, look(age_s=45.0)), (60.0, look(age_s=15.0))) == [
        True,
        False,
        False,
        False,  # 45 s lie between the two samples, and nobody saw what was in between
    ]


def test_while_replicas_come_and_go_nothing_is_told() -> None:
    after = [(15.0 * k, look(ready=6.0)) for k in range(1, 10)]
    told = tells(*after)
    assert not any(told[:4])
    assert all(told[4:])
    slow = {"ready": 6.0, "throughput_per_s": 1.0}  # 80 s in service
    told = tells(*((15.0 * k, look(**slow)) for k in range(1, 13)))
    assert not any(told[:7])
    assert all(told[8:])
    assert tells((15.0, look(draining=1.0))) == [False]
    assert tells((15.0, look(ready=0.0))) == [False]


def test_one_of_many_replicas_may_go() -> None:
    sampler = Sampler(1)
    many = {"running": 4000.0, "throughput_per_s": 200.0}
    told = [float(sampler.take(15.0 * k, 15.0, look(ready=200.0 - k % 3, **many)).exposure[0]) for k in range(40)]
    assert all(told[5:])


def test_a_set_clock_changes_nothing() -> None:
    sampler, other = Sampler(1), Sampler(1)
    for k in range(20):
        sampler.take(15.0 * k, 15.0, look())
        other.take(15.0 * k, 15.0, look())
    other.shift(-5000.0)
    assert other.take(300.0 - 5000.0, 15.0, look()).exposure == sampler.take(300.0, 15.0, look()).exposure > 0.0


# ---------------------------------------------------------------- whatever signals hold


ANY = st.one_of(st.floats(allow_nan=True, allow_infinity=True), st.floats(0.0, 500.0), st.sampled_from([0.0, NAN, 1.0]))
LOOKS = st.lists(
    st.fixed_dictionaries(
        {
            "throughput_per_s": ANY,
            "demand_per_s": ANY,
            "running": ANY,
            "queue": ANY,
            "age_s": st.one_of(st.floats(0.0, 120.0), st.just(NAN), st.just(15.0)),
            "ready": st.integers(0, 50).map(float),
            "draining": st.integers(0, 3).map(float),
        }
    ),
    min_size=1,
    max_size=40,
)


def learnt_by(rows: list[list[dict[str, float]]], given: float, low: float, high: float) -> Estimates:
    n, moments = len(rows), len(rows[0])
    sampler, estimates = Sampler(n), Estimates(np.full(n, given), np.full(n, low), np.full(n, high))
    with np.errstate(all="ignore"):
        for k in range(moments):
            columns: dict[str, Any] = {
                name: np.array([row[k].get(name, default) for row in rows])
                for name, default in (
                    ("throughput_per_s", 0.0), ("demand_per_s", 0.0), ("running", 0.0), ("queue", 0.0), ("age_s", 15.0), ("span_s", NAN),
                    ("ready", 4.0), ("draining", 0.0), ("slots", SLOTS), ("slowdown", SLOWDOWN), ("mixed", False),
                )
            }  # fmt: skip
            estimates.learn(sampler.take(15.0 * k, 15.0, Look(**columns)))
    return estimates


@settings(max_examples=60)
@given(LOOKS, st.sampled_from([1.6, NAN]))
def test_nonsense_never_leaves_the_bounds(one: list[dict[str, float]], prior: float) -> None:
    estimates = learnt_by([one], prior, 0.4, 6.4)
    mean = float(estimates.mean[0])
    assert 0.4 <= mean <= 6.4 or (prior != prior and mean != mean)
    assert 0.0 <= float(estimates.confidence()[0]) <= 1.0


@settings(max_examples=30)
@given(st.lists(LOOKS, min_size=2, max_size=4), st.sampled_from([1.6, NAN]))
def test_one_service_is_a_row_of_many_and_learns_the_same_again(rows: list[Any], prior: float) -> None:
    shortest = min(map(len, rows))
    rows = [row[:shortest] for row in rows]
    many, again = learnt_by(rows, prior, 0.4, 6.4), learnt_by(rows, prior, 0.4, 6.4)
    for row, alone in enumerate(rows):
        one = learnt_by([alone], prior, 0.4, 6.4)
        for name in ("mean", "weight", "seen"):
            expected = getattr(one, name)[0]
            np.testing.assert_array_equal(getattr(many, name)[row], expected)
            np.testing.assert_array_equal(getattr(again, name)[row], expected)
