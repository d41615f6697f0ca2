"""What happens to a service in its life, and what `predictive` makes of it: gaps, new levels, no past, clocks that are set."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace as with_settings

from autoscaler.core.model import Floats, Ints, PolicyRef
from policies.predictive import POLICY
from replay.plugins import installed
from replay.run import play
from replay.world import build_world
from tests.policies.changed_clocks import after_a_change
from tests.policies.observations import NAN, Services
from tests.replay.made import scenario, specs

MU = 1.6


def noisy(rate: float, ticks: int, seed: int = 0) -> Floats:
    return np.asarray(np.random.default_rng(seed).poisson(rate * 15, size=ticks) / 15)


def asked(services: Services, demand: Floats, current: Ints) -> Floats:
    """The counts (ticks, n) that it asks for demand (ticks, n) where they come at once; NaN: the count stays."""
    counts = np.zeros(demand.shape)
    for tick, rates in enumerate(demand):
        answer = services.see(demand=rates, queue=np.where(np.isnan(rates), NAN, 0.0), current=current, ready=current)
        current = np.where(np.isnan(answer.replicas), current, np.maximum(np.nan_to_num(answer.replicas), 1)).astype(np.int64)
        counts[tick] = current
    return counts


def test_missing_samples_change_next_to_nothing() -> None:
    """Every tenth sample is missing, or a minute of every quarter of an hour, beside one that misses none."""
    steady = noisy(32.0, 1800)
    demand = np.stack([steady] * 3, axis=1)
    demand[::10, 1] = NAN
    demand[np.arange(1800) % 60 < 4, 2] = NAN
    counts = asked(Services(POLICY, [{}] * 3), demand, np.full(3, 10))[-900:]
    whole, tenth, minutes = counts.mean(axis=0)
    assert tenth == pytest.approx(whole, rel=0.03)
    assert minutes == pytest.approx(whole, rel=0.06)
    assert counts.min() >= 32.0 / MU, "what is missing is never taken for less demand"


def test_an_hour_of_nothing_holds_the_count_and_what_was_learnt() -> None:
    services, steady = Services(POLICY, [{}]), noisy(32.0, 1500)[:, None]
    before = asked(services, steady, np.array([10]))[-400:].mean()
    last = int(services.observation.current[0])
    blind = asked(services, np.full((240, 1), NAN), np.array([last]))
    assert set(blind[:, 0]) == {last}
    after = asked(services, noisy(32.0, 400, seed=1)[:, None], np.array([last]))
    assert after.mean() == pytest.approx(before, rel=0.06)


@pytest.mark.parametrize("factor", [0.4, 2.5])
def test_a_changed_level_is_followed_within_minutes_and_costs_no_more_than_any_other_after_an_hour(factor: float) -> None:
    services = Services(POLICY, [{}])
    asked(services, noisy(20.0, 1500)[:, None], np.array([10]))
    counts = asked(services, noisy(20.0 * factor, 800, seed=1)[:, None], services.observation.current)[:, 0]
    work = 20.0 * factor / MU
    assert counts[8:].min() >= work, "two minutes after the change there is enough, whichever way it went"
    assert counts[40:].max() <= 2.0 * work + 2, "after ten minutes the old level is no reason any more"
    assert counts[240:].mean() <= 1.35 * work


@pytest.mark.parametrize("minutes", [1, 60])
def test_a_service_a_minute_or_an_hour_old_keeps_its_promise_and_costs_no_more_than_room_of_a_half(minutes: int) -> None:
    """In the standard scenario, with nothing of a past: from then on for two hours."""
    made = np.random.default_rng(6).poisson(32.0, size=(1, 60 * minutes + 7200)).astype(np.float64)
    setting = with_settings(scenario(), warmup=f"{minutes}m", replicas=with_settings(scenario().replicas, initial=24))
    score = play(
        build_world(specs(1, PolicyRef(name="predictive")), (), setting, made), setting, policies=installed({"predictive"})
    ).score
    assert score["attained_ratio"] >= 0.995
    assert score["replica_hours"] <= 1.5 * 2 * 32.0 / MU


def test_when_the_users_set_their_clocks_the_promise_stays_and_costs_somewhat_more() -> None:
    """Eight days of steep mornings, then everybody comes an hour earlier or later; the day after, beside one without a change. In steps of a
    minute, which is a quarter of the usual work."""
    by_minutes = scenario(interval="60s", metrics__period="60s", metrics__window="60s")
    found = after_a_change(by_minutes, "predictive", learnt_days=8, scored_days=1)
    kept, hours = found["none"]
    for change in ("to summer", "to winter"):
        assert found[change][0] >= max(99.5, kept - 0.3), "per cent, percentage points"
        assert found[change][1] <= 1.10 * hours
