from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replay.plant.requests import kernel as places
from replay.plant.requests.kernel import compiled
from replay.plant.requests.station import Station
from tests.replay.requests_made import completed, outcome, poisson, slowly, station, token_s

FAST = [False, True] if compiled() is not None else [False]


@pytest.mark.parametrize("fast", FAST)
@pytest.mark.parametrize(("replicas", "slots", "rate_per_s"), [(1, 1, 0.1), (3, 4, 1.6), (5, 8, 4.0), (9, 2, 3.0)])
def test_a_slow_simulator_without_tricks_says_the_same(fast: bool, replicas: int, slots: int, rate_per_s: float) -> None:
    times = token_s(slots, slowdown=3.0)
    requests = poisson(rate_per_s, 400, seed=replicas)
    made = station(replicas, times, *requests, fast=fast)
    made.run(0.0, 1e9)
    made.run(1e9, 1e9, mark=True)
    for ours, theirs in zip(outcome(made), slowly(replicas, times, *requests), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-6)
    assert (outcome(made)[0] > requests[0]).any(), "nobody waited: the case is too easy"


def test_a_lone_request_by_hand() -> None:
    made = station(1, token_s(2, 0.1, 2.0), np.array([1.0, 2.0]), np.array([100.0, 0.0]), np.array([20.0, 5.0]), fast=False)
    made.run(0.0, 100.0)
    started, first, ended = outcome(made)
    # Alone a token takes 0.15 s: at 2 s the first request has 6.67 of its 30 token-equivalents. Two of them take 0.2 s a token.
    assert started.tolist() == [1.0, 2.0]
    assert ended[1] == pytest.approx(2.0 + 5 * 0.2)
    assert first[0] == pytest.approx(2.0 + (10 - 1 / 0.15) * 0.2)
    assert ended[0] == pytest.approx(3.0 + (30 - 1 / 0.15 - 5) * 0.15)


def _later(made: Station, seed: int) -> int:
    """Whatever can happen to a station, at moments and sizes drawn from the seed. Returns the second that is reached."""
    rng = np.random.Generator(np.random.PCG64(seed))
    at_s = 0
    while at_s < 200:
        until_s = at_s + int(rng.integers(1, 30))
        made.run(at_s, until_s, mark=bool(rng.integers(2)))
        at_s = until_s
        made.counts[places.SHOWN] = 0
        serving = sum(1 for mode in made.whole[places.MODE] if mode == places.SERVING)
        match int(rng.integers(6)):
            case 0:
                made.join(int(rng.integers(1, 5)), at_s)
            case 1 if serving:
                made.leave(int(rng.integers(1, serving + 1)), at_s + 20)
            case 2 if serving:
                made.lose(int(rng.integers(1, serving + 1)), min(len(made.leaving), 1))
        made.finished(at_s)
    return at_s


@settings(max_examples=60)
@given(
    replicas=st.integers(0, 9),
    slots=st.integers(1, 12),
    load=st.floats(0.1, 3.0),
    seed=st.integers(0, 10_000),
    count=st.integers(1, 300),
)
def test_the_forms_give_the_same_bits(replicas: int, slots: int, load: float, seed: int, count: int) -> None:
    if len(FAST) == 1:
        pytest.skip("numba isn't installed")
    requests = poisson(load, count, seed)
    plain, fast = (station(replicas, token_s(slots), *requests, fast=fast) for fast in FAST)
    for made in (plain, fast):
        _later(made, seed)
    for name in ("counts", "sums", "retry", "whole", "moments", "_slot_jobs", "_slot_clocks", "_tree", "_rings"):
        assert np.array(getattr(plain, name)).tobytes() == np.array(getattr(fast, name)).tobytes(), name
    assert plain.ended().tolist() == fast.ended().tolist()
    for ours, theirs in zip(outcome(plain), outcome(fast), strict=True):
        assert ours.tobytes() == theirs.tobytes()


@settings(max_examples=60)
@given(replicas=st.integers(1, 9), slots=st.integers(1, 12), load=st.floats(0.1, 3.0), seed=st.integers(0, 10_000))
def test_no_request_is_lost_or_served_twice_and_the_queue_is_first_come_first_served(
    replicas: int, slots: int, load: float, seed: int
) -> None:
    count = 200
    came, prompt, output = poisson(load, count, seed)
    made = station(replicas, token_s(slots), came, prompt, output, fast=False)
    at_s = _later(made, seed)
    ended = made.ended()
    running, waiting = made.running_requests(), made.waiting_requests()
    arrived = int(made.counts[places.ARRIVED])
    assert sorted([*ended, *running, *waiting]) == list(range(arrived))
    assert arrived == int((came < at_s).sum())
    started, _, end = outcome(made)
    assert (end[ended] > started[ended]).all()
    assert (started[running] >= came[running]).all()
    # A request never takes less than it would alone.
    alone_s = (0.1 * prompt + output) * token_s(slots)[1]
    assert (end[ended] - started[ended] >= alone_s[ended] - 1e-9).all()
    for load_now, mode in zip(made.whole[places.BATCH], made.whole[places.MODE], strict=True):
        assert 0 <= load_now <= slots
        assert mode != places.ABSENT or load_now == 0
    low = min(
        (
            load_now
            for load_now, mode in zip(made.whole[places.BATCH], made.whole[places.MODE], strict=True)
            if mode == places.SERVING
        ),
        default=slots,
    )
    assert made.counts[places.LOW] == low


def test_first_come_first_served_where_nothing_is_lost() -> None:
    requests = poisson(3.0, 500, 7)
    made = station(4, token_s(4), *requests, fast=False)
    made.run(0.0, 1e9)
    started = outcome(made)[0]
    assert (np.diff(started) >= 0).all()
    assert (started > requests[0]).mean() > 0.1


def test_work_and_time_add_up() -> None:
    came, prompt, output = poisson(2.0, 300, 3)
    made = station(4, token_s(8), came, prompt, output, fast=False)
    made.run(0.0, 1e9)
    made.run(1e9, 1e9, mark=True)
    started, _, ended = outcome(made)
    assert made.sums[places.WORKED] == pytest.approx(float((0.1 * prompt + output).sum()))
    assert made.sums[places.OUTPUT] == pytest.approx(float(output.sum()))
    assert made.sums[places.PREFILLED] == pytest.approx(float(0.1 * prompt.sum()))
    assert made.sums[places.TAKEN] == pytest.approx(float((ended - started).sum()))
    assert made.sums[places.BUSY] <= 4 * ended.max()


def test_what_a_lost_replica_was_doing_begins_anew_before_all_that_waits() -> None:
    came = np.arange(6, dtype=np.float64)
    made = station(2, token_s(2, 1.0), came, np.zeros(6), np.full(6, 100.0), fast=False)
    made.run(0.0, 10.0)
    assert (made.running, made.waiting) == (4, 2)
    made.counts[places.SHOWN] = 0
    made.lose(1, 0)
    assert made.waiting_requests().tolist() == [1, 2, 4, 5]
    made.run(10.0, 1e9)
    started = outcome(made)[0]
    assert completed(made) == 6
    assert started[[0, 3]].tolist() == [0.0, 3.0]
    assert 10.0 < started[1] < started[2] <= started[4] < started[5]


def test_a_leaving_replica_finishes_what_runs_and_takes_no_more() -> None:
    came = np.array([0.0, 0.1, 0.2, 30.0])
    made = station(2, token_s(3, 1.0, 1e9), came, np.zeros(4), np.array([50.0, 50.0, 50.0, 10.0]), fast=False)
    made.run(0.0, 1.0)
    made.leave(1, 1 << 60)
    assert made.finished(1) == 0
    made.run(1.0, 45.0)
    assert made.finished(45) == 0
    made.run(45.0, 52.0)
    assert made.finished(52) == 1
    assert not made.leaving
    made.run(52.0, 1e9)
    started, _, ended = outcome(made)
    assert ended[:3].tolist() == pytest.approx([50.0, 50.1, 50.2])
    assert started[3] == 30.0


def test_the_table_grows_in_the_middle_of_work() -> None:
    requests = poisson(5.0, 800, 11)
    made = station(2, token_s(4), *requests, fast=False)
    other = station(2, token_s(4), *requests, fast=FAST[-1])
    for one in (made, other):
        one.run(0.0, 50.0)
        one.join(40, 50)
        one.run(50.0, 1e9)
    assert completed(made) == 800
    assert outcome(made)[2].tobytes() == outcome(other)[2].tobytes()
    assert (outcome(made)[0] >= 50.0).sum() > 100


def test_forgetting_what_has_ended_changes_nothing() -> None:
    requests = poisson(2.0, 600, 5)
    once, often = (station(3, token_s(4), *requests, fast=False) for _ in range(2))
    ends: list[float] = []
    for at_s in range(0, 2000, 10):
        often.run(at_s, at_s + 10)
        ends += often.picked(places.ENDED, often.ended()).tolist()
        often.settle(0)
    once.run(0.0, 2000.0)
    assert ends == once.picked(places.ENDED, once.ended()).tolist()
    assert len(ends) == 600
