"""The breaker by a clock that only moves when told to."""

from __future__ import annotations

import numpy as np
import pytest

from autoscaler.backoff import Backoff
from autoscaler.clock import ManualClock
from autoscaler.external_metrics.breaker import Attempt, Breaker, State


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(100.0)


@pytest.fixture
def breaker(clock: ManualClock) -> Breaker:
    backoff = Backoff(np.random.default_rng(1), first_s=1.0, max_s=4.0)
    return Breaker(faults=3, backoff=backoff, monotonic_s=clock.monotonic_s)


def state(breaker: Breaker) -> State:
    """Asked anew each time: a type checker would take it for what it was a line before."""
    return breaker.state


def passes(breaker: Breaker) -> bool:
    return breaker.passes


def begun(breaker: Breaker) -> Attempt:
    attempt = breaker.attempt()
    assert attempt is not None
    return attempt


def opened(breaker: Breaker) -> Breaker:
    for _ in range(3):
        begun(breaker).failed()
    assert state(breaker) is State.OPEN
    return breaker


def test_only_faults_in_a_row_open_it(breaker: Breaker) -> None:
    for _ in range(10):
        begun(breaker).failed()
        begun(breaker).failed()
        begun(breaker).succeeded()
    assert state(breaker) is State.CLOSED
    opened(breaker)
    assert breaker.attempt() is None


def test_pauses_double_and_are_short_again_after_a_success(breaker: Breaker, clock: ManualClock) -> None:
    opened(breaker)
    pauses = []
    for _ in range(5):
        pauses.append(breaker.opens_in_s)
        clock.advance_to(clock.now_s() + breaker.opens_in_s)
        begun(breaker).failed()
        assert state(breaker) is State.OPEN
    for pause_s, longest_s in zip(pauses, (1, 2, 4, 4, 4), strict=True):
        assert longest_s / 2 <= pause_s <= longest_s
    clock.advance_to(clock.now_s() + breaker.opens_in_s)
    begun(breaker).succeeded()
    assert (state(breaker), breaker.opens_in_s) == (State.CLOSED, 0.0)
    assert opened(breaker).opens_in_s <= 1.0


def test_one_probe_at_a_time(breaker: Breaker, clock: ManualClock) -> None:
    opened(breaker)
    assert not passes(breaker)
    clock.advance_to(101.0)
    assert passes(breaker)
    probe = begun(breaker)
    assert (state(breaker), passes(breaker), breaker.attempt(), breaker.opens_in_s) == (State.PROBING, False, None, 0.0)
    probe.succeeded()
    assert passes(breaker)


def test_a_probe_that_tells_nothing_leaves_the_place_to_the_next(breaker: Breaker, clock: ManualClock) -> None:
    opened(breaker)
    clock.advance_to(101.0)
    begun(breaker).abandoned()
    assert passes(breaker)
    begun(breaker).succeeded()
    assert state(breaker) is State.CLOSED
    begun(breaker).abandoned()
    assert state(breaker) is State.CLOSED


def test_what_began_before_decides_nothing_after(breaker: Breaker, clock: ManualClock) -> None:
    """Neither does a late success close it, nor a late fault prolong the pause or fail the probe."""
    early = [begun(breaker) for _ in range(4)]
    opened(breaker)
    pause_s = breaker.opens_in_s
    early[0].succeeded()
    early[1].failed()
    assert (state(breaker), breaker.opens_in_s) == (State.OPEN, pause_s)
    clock.advance_to(101.0)
    probe = begun(breaker)
    early[2].failed()
    early[3].abandoned()
    assert state(breaker) is State.PROBING
    probe.succeeded()
    assert state(breaker) is State.CLOSED
