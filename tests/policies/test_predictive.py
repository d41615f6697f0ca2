"""predictive: what it asks for, what it never does, and what it says."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.core.model import Floats
from policies.predictive import POLICY, Predictive
from policies.predictive_allowance import FURTHEST, Allowance
from policies.predictive_belief import KNOWN_AFTER_S
from policies.predictive_grace import CLAIM, FALLS, Grace
from policies.reactive import POLICY as REACTIVE
from tests.policies.observations import NAN, Services

MU = 1.6
KNOWN = int(KNOWN_AFTER_S / 15) + 100
"""Ticks after which a service is no longer young."""


def played(demand: Floats, params: dict[str, Any] | None = None, **columns: Any) -> tuple[Services, Floats]:
    """A service whose replicas are what it asks for, ready at once. demand (ticks,) or (ticks, n). Returns the counts (ticks, n)."""
    demand = demand[:, None] if demand.ndim == 1 else demand
    services = Services(POLICY, [params or {}] * demand.shape[1])
    current = np.full(demand.shape[1], 10)
    counts = np.zeros(demand.shape)
    for tick, rates in enumerate(demand):
        answer = services.see(demand=rates, queue=0.0, current=current, ready=current, **columns)
        current = np.where(np.isnan(answer.replicas), current, np.maximum(np.nan_to_num(answer.replicas), 1)).astype(np.int64)
        counts[tick] = answer.replicas
    return services, counts


def noisy(rate: float, ticks: int, seed: int = 0) -> Floats:
    return np.asarray(np.random.default_rng(seed).poisson(rate * 15, size=ticks) / 15)


def test_steady_traffic_gets_little_more_than_its_work() -> None:
    _, counts = played(noisy(32.0, 4000))
    work = 32.0 / MU
    assert work * 1.0 <= counts[-500:].mean() <= work * 1.15
    assert np.count_nonzero(np.diff(counts[-500:, 0])) <= 60


def test_a_stricter_promise_and_a_shorter_wait_ask_for_more() -> None:
    services = Services(POLICY, [{}, {}, {"wait_s": 1.0}])
    promised = np.array([0.99, 0.999, 0.99])
    for rate in noisy(20.0, 600):
        answer = services.see(demand=rate, queue=0.0, promised_ratio=promised)
    assert isinstance(services.policy, Predictive)
    need = services.policy._need
    assert need is not None
    assert need.rate[1] > need.rate[0]
    assert need.rate[2] > need.rate[0]
    assert answer.forecast is not None
    assert (np.diff(answer.forecast.values[:, :, 0]) > 0).all()


def test_on_a_pool_what_waits_is_worked_off_sooner() -> None:
    """Whoever is told of its pool alone differs: 0.6 × drain_s, so 1 ÷ 0.6 as many replicas for the same backlog, and 1.15 × the misses."""
    services = Services(POLICY, [{}, {}])
    for rate in noisy(20.0, KNOWN):
        services.see(demand=rate, queue=0.0, pooled=[False, True])
    services.see(demand=20.0, queue=100.0, pooled=[False, True])
    assert isinstance(services.policy, Predictive)
    need = services.policy._need
    assert need is not None
    assert need.backlog[1] == pytest.approx(need.backlog[0] / 0.6)
    assert need.rate[1] < need.rate[0]
    services.see(demand=20.0, queue=100.0)
    need = services.policy._need
    assert need is not None
    assert need.backlog[1] == pytest.approx(need.backlog[0])


@settings(max_examples=12, deadline=None)
@given(
    rate=st.floats(2, 60),
    factor=st.floats(1.25, 20),
    seed=st.integers(0, 1000),
    ticks=st.integers(30, 120),
)
def test_more_demand_never_gets_fewer_replicas(rate: float, factor: float, seed: int, ticks: int) -> None:
    demand = noisy(rate, ticks, seed)
    _, counts = played(np.stack([demand, factor * demand], axis=1))
    assert (counts[5:, 1] >= counts[5:, 0]).all()


@settings(max_examples=25, deadline=None)
@given(demand=st.lists(st.one_of(st.floats(0, 1e4), st.just(NAN)), min_size=1, max_size=60))
def test_whatever_comes_counts_are_finite_or_can_t_be_told(demand: list[float]) -> None:
    _, counts = played(np.array(demand))
    told = counts[~np.isnan(counts)]
    assert (told >= 0).all()
    assert np.isfinite(told).all()
    assert (told <= 2.2 * np.ceil(np.nanmax([*demand, 0.0]) / MU) + 2).all()


def test_unknown_demand_is_never_zero_demand() -> None:
    services, _ = played(noisy(20.0, 200))
    for _ in range(40):
        answer = services.see(demand=NAN, queue=NAN)
        assert np.isnan(answer.replicas).all()
    assert np.isnan(services.see(demand=NAN, queue=0.0).replicas).all()
    assert "is known" in answer.why(0)
    back = services.see(demand=20.0, queue=0.0)
    assert back.replicas[0] >= 12


def test_what_runs_speaks_where_demand_is_unknown() -> None:
    services, _ = played(noisy(20.0, 200))
    lately = services.see(demand=NAN, queue=0.0, running=300.0)
    assert "demand will need" in lately.why(0), "one missing sample changes nothing"
    for _ in range(6):
        answer = services.see(demand=NAN, queue=0.0, running=300.0)
    assert answer.replicas[0] >= 10
    assert "reactive speaks" in answer.why(0)


def test_a_backlog_gets_replicas_and_they_stay_for_a_while() -> None:
    services, counts = played(noisy(16.0, KNOWN), {"drain_s": 50.0})
    before = counts[-1, 0]
    answer = services.see(demand=16.0, queue=400.0, current=int(before), ready=int(before))
    assert answer.replicas[0] == pytest.approx(before + 400 / (50 * MU), abs=1.5)
    assert "the backlog adds 5.0" in answer.why(0)
    later = services.see(demand=16.0, queue=0.0, current=int(answer.replicas[0]), ready=int(before))
    assert later.replicas[0] >= answer.replicas[0] - 1
    assert "stay" in later.why(0)


def test_a_large_backlog_s_replicas_go_once_it_is_worked_off() -> None:
    services, counts = played(noisy(16.0, 400))
    before = int(counts[-1, 0])
    answer = services.see(demand=16.0, queue=4000.0, current=before, ready=before)
    assert answer.replicas[0] >= before + 45
    later = services.see(demand=16.0, queue=0.0, current=int(answer.replicas[0]), ready=before)
    assert later.replicas[0] <= 1.6 * before


def test_where_requests_wait_too_long_it_orders_for_those_who_will_have_joined_them() -> None:
    answers = []
    for ready in (12, 24):
        services, _ = played(noisy(16.0, KNOWN))
        for _ in range(4):
            answers.append(services.see(demand=32.0, queue=200.0, current=ready, ready=ready))
    short, enough = answers[3], answers[7]
    assert "those who will have joined it until help is ready add 19.4" in short.why(0), (
        "10.3/s for half of 120 s and 180 s of a node"
    )
    assert short.replicas[0] >= enough.replicas[0] + 19
    assert "joined" not in enough.why(0)


def test_a_first_backlog_waits_for_nodes_and_for_the_whole_lead_time_and_is_worked_off_sooner() -> None:
    services = Services(POLICY, [{"drain_s": 50.0}])
    for _ in range(5):
        answer = services.see(demand=32.0, queue=200.0, current=12, ready=12)
    words = answer.why(0)
    assert "to work it off in 20 s" in words
    assert "those who will have joined it until help is ready add 96.9" in words, "10.3/s for 300 s, worked off in 20 s"
    slow = Services(POLICY, [{"drain_s": 50.0}])
    for _ in range(5):
        answer = slow.see(demand=32.0, queue=200.0, current=12, ready=12, lead_time_s=1200.0)
    assert "joined it until help is ready add 96.9" in answer.why(0), "1380 s, worked off in a fifteenth of it"


def test_a_service_without_a_past_gets_somewhat_more_than_it_needs_and_later_what_its_errors_say() -> None:
    restless = np.random.default_rng(5).lognormal(np.log(32.0), 0.3, 2400)
    young, _ = played(restless[:20])
    answer = young.see(demand=32.0, queue=0.0, current=30, ready=30)
    assert "is believed, as more lies too far above what was needed lately: " in answer.why(0)
    _, counts = played(restless)
    assert np.nanmax(counts[8:40]) <= 1.25 * restless[:40].max() / MU + 1
    assert counts[-400:].mean() >= 1.1 * counts[8:40].mean()


def test_it_is_no_slower_than_reactive_when_demand_jumps_and_keeps_within_twice_the_need() -> None:
    for factor in (2.0, 5.0, 20.0):
        steady = noisy(8.0, 600)
        jump = noisy(8.0 * factor, 40, seed=1)
        _, counts = played(np.concatenate([steady, jump]))
        bold = Services(REACTIVE, [{}])
        for rate in np.concatenate([steady, jump[:1]]):
            answer = bold.see(demand=rate, queue=0.0)
        assert counts[601, 0] >= answer.replicas[0] * 0.75
        assert counts[604, 0] >= 0.9 * 8.0 * factor / MU
        assert counts.max() <= 2.2 * (8.0 * factor * 1.2 / MU) + 2


def test_it_is_ready_before_the_morning() -> None:
    """Every day the demand is five times as high from nine o'clock on, within ten minutes."""
    services = Services(POLICY, [{}], interval_s=60.0, at_s=1_750_032_000.0)
    current, counts = 5, []
    at_s = np.arange(0, 9.5 * 86_400, 60.0)
    into_s = at_s % 86_400
    share = np.clip((into_s - 32_400) / 600, 0, 1) * (into_s < 61_200)
    rates = np.random.default_rng(4).poisson((6.0 + 24.0 * share) * 60) / 60
    for rate in rates:
        answer = services.see(demand=rate, queue=0.0, current=current, ready=current, lead_time_s=600.0)
        current = max(int(answer.replicas[0]), 1)
        counts.append(current)
    day = [counts[9 * 1440 + minute] for minute in range(720)]
    assert day[8 * 60] <= 7, "an hour before nothing is ordered"
    assert day[9 * 60] >= 1.5 * day[8 * 60], "what is ordered now is ready ten minutes later, when demand is up"
    assert day[9 * 60 + 10] >= 15


def test_it_asks_for_nothing_where_nothing_comes_and_wakes_before_yesterdays_first_requests() -> None:
    """Requests come from eight to twenty o'clock, thirty a second."""
    services = Services(POLICY, [{}], interval_s=60.0, at_s=1_750_032_000.0)
    at_s = np.arange(0, 3.4 * 86_400, 60.0)
    into_s = at_s % 86_400
    rates = np.where((into_s >= 28_800) & (into_s < 72_000), 30.0, 0.0)
    counts: list[float] = []
    for rate in rates:
        answer = services.see(demand=rate, queue=0.0, current=int(counts[-1]) if counts else 1, ready=1)
        counts.append(float(answer.replicas[0]))
        if len(counts) == 2 * 1440 + 120:
            assert answer.why(0) == "nothing comes, and nothing came at this time yesterday: no replica is needed"
    night = counts[2 * 1440 + 30 : 2 * 1440 + 450]
    assert set(night) == {0.0}
    assert 1 <= counts[2 * 1440 + 476] <= 40, "four minutes before eight it is woken: two to start, two to spare"
    assert counts[2 * 1440 + 600] >= 19
    assert counts[2 * 1440 + 1320] == 0
    assert np.isnan(services.see(demand=NAN, queue=NAN).replicas[0]), "unknown is never asleep"


# ---------------------------------------------------------------- grace


def test_a_forecast_that_misses_too_often_loses_its_vote_and_earns_it_back() -> None:
    grace, exceeded = Grace(2), np.array([2.0, 2.0])
    for _ in range(40):
        grace.judge(np.array([3.0, 1.0]), exceeded, 30.0)
    assert not grace.out.any()
    for _ in range(60):
        grace.judge(np.array([3.0, NAN]), exceeded, 30.0)
    assert grace.out.tolist() == [True, False]
    assert grace.missed[0] > FALLS > CLAIM > grace.missed[1]
    ticks = 0
    while grace.out.any():
        grace.judge(np.array([0.0, 0.0]), exceeded, 30.0)
        ticks += 1
    assert 100 < ticks < 500
    assert grace.fallen is None


def test_while_it_is_out_of_favour_reactive_speaks_and_says_why() -> None:
    services, _ = played(noisy(20.0, 300))
    assert isinstance(services.policy, Predictive)
    services.policy._grace.missed[:], services.policy._grace.out[:] = 0.4, True
    answer = services.see(demand=20.0, queue=0.0)
    assert answer.why(0).startswith("the forecast has lost its vote (40% of its last minutes")
    assert "reactive speaks: demand" in answer.why(0)
    assert 12 <= answer.replicas[0] <= 20


# ---------------------------------------------------------------- the account of the promise


def spent(
    allowance: Allowance, wait_s: float, ticks: int, rate: float = 10.0, late: float = 0.005, interval_s: float = 15.0
) -> float:
    rates, waits_s, allowed_s, late_ratio, aim = (np.array([value]) for value in (rate, wait_s, 5.0, late, 1.0))
    for _ in range(ticks):
        allowance.learn(rates, waits_s, allowed_s, late_ratio, aim, interval_s)
    return float(allowance.care[0])


def test_late_requests_make_it_careful_and_kept_promises_bold_within_bounds() -> None:
    allowance = Allowance(1)
    assert spent(allowance, 60.0, 20) > 0
    assert spent(allowance, 0.0, 20_000, interval_s=1500.0) == -FURTHEST
    assert spent(allowance, 60.0, 1000, interval_s=1500.0) == FURTHEST
    assert spent(Allowance(1), NAN, 1000) == 0.0
    assert spent(Allowance(1), 0.0, 1000, rate=NAN) == 0.0


def test_what_is_allowed_is_spent_exactly_where_it_stays_the_same() -> None:
    allowance = Allowance(1)
    before = spent(allowance, 0.0, 1)
    for _ in range(50):
        spent(allowance, 60.0, 1)
        spent(allowance, 0.0, 199)
    assert spent(allowance, 0.0, 1) == pytest.approx(before, abs=1e-4)


# ---------------------------------------------------------------- what is remembered of it


def test_what_is_remembered_goes_back_into_its_row_alone() -> None:
    services, _ = played(np.stack([noisy(20.0, 1200), noisy(6.0, 1200, 1)], axis=1))
    learnt = services.policy
    assert isinstance(learnt, Predictive)
    text = learnt.remember(0)
    assert 500 < len(text) < 4000
    others, _ = played(np.stack([noisy(9.0, 60, 2), noisy(9.0, 60, 3)], axis=1))
    fresh = others.policy
    assert isinstance(fresh, Predictive)
    assert fresh.remember(0) == "", "an hour of the past, which a restart is shown anyway, teaches as much"
    before = fresh._outlook.mix.weights[1].copy()
    fresh.recall(0, text)
    for keeper, name in (("mix", "weights"), ("mix", "covariances"), ("misses", "counts")):
        mine, theirs = (getattr(getattr(one._outlook, keeper), name)[0] for one in (fresh, learnt))
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-5)
    assert fresh._allowance.care[0] == pytest.approx(learnt._allowance.care[0])
    assert (fresh._outlook.mix.weights[1] == before).all()
    assert fresh.remember(0) == text
    assert np.isfinite(others.see(demand=[20.0, 9.0], queue=0.0).replicas).all()


@pytest.mark.parametrize("spoil", ["version", "experts", "cut", "no number", "no base64"])
def test_a_memory_that_can_t_be_used_is_ignored(spoil: str) -> None:
    services, _ = played(noisy(20.0, 1200))
    policy = services.policy
    assert isinstance(policy, Predictive)
    data = bytearray(base64.b64decode(policy.remember(0)))
    if spoil in ("version", "experts"):
        data[0 if spoil == "version" else 3] ^= 1
    elif spoil == "no number":
        data[-4:] = np.array([np.nan], dtype="<f4").tobytes()
    text = base64.b64encode(bytes(data[:-4] if spoil == "cut" else data)).decode()
    before = policy._outlook.mix.weights.copy()
    policy._outlook.mix.weights[:] += 1.0
    policy.recall(0, "§" if spoil == "no base64" else text)
    np.testing.assert_allclose(policy._outlook.mix.weights, before + 1.0)
