"""Histories: bounded, thinned, and true to their service while fleets change."""

from __future__ import annotations

import numpy as np
import pytest

from autoscaler.dashboard.rings import COLUMNS, FULL_TICKS, THINNED_POINTS, TICKS_PER_POINT, Rings


def push(rings: Rings, tick: int, keys: list[str], value_of: dict[str, float]) -> None:
    slots = rings.slots_of(keys)
    rings.push(15.0 * tick, slots, np.array([[value_of[key] for key in keys]] * len(COLUMNS)))


def test_a_service_keeps_its_history_while_others_come_and_go() -> None:
    rings = Rings()
    push(rings, 0, ["a", "b"], {"a": 1, "b": 2})
    push(rings, 1, ["b", "c"], {"b": 2.5, "c": 3})
    push(rings, 2, ["d", "c", "b"], {"b": 2.75, "c": 3.5, "d": 4})
    assert rings.history("b")["columns"]["demand"] == [2, 2.5, 2.75]
    assert rings.history("c")["columns"]["demand"] == [3, 3.5]
    # d got a's slot, and nothing of a's past.
    assert rings.history("d") == {"times_s": [30.0], "thinned": 0, "columns": {name: [4.0] for name in COLUMNS}}


def test_growing_keeps_what_was() -> None:
    rings = Rings()
    push(rings, 0, ["a"], {"a": 1})
    many = [f"s{k}" for k in range(500)]
    push(rings, 1, ["a", *many], {"a": 2, **{key: float(k) for k, key in enumerate(many)}})
    assert rings.history("a")["columns"]["queue"] == [1, 2]
    assert rings.history("s499")["columns"]["queue"] == [499]


def test_old_ticks_are_thinned_to_means_and_peaks() -> None:
    rings = Rings()
    ticks = FULL_TICKS + 5 * TICKS_PER_POINT
    for tick in range(ticks):
        push(rings, tick, ["a"], {"a": float(tick)})
    history = rings.history("a")
    assert history["thinned"] == 5
    assert len(history["times_s"]) == FULL_TICKS + 5
    assert np.all(np.diff(history["times_s"]) > 0)
    assert history["columns"]["demand"][0] == pytest.approx((TICKS_PER_POINT - 1) / 2)
    assert history["columns"]["queue"][0] == TICKS_PER_POINT - 1


def test_no_more_than_a_day_is_kept() -> None:
    rings = Rings()
    for tick in range(FULL_TICKS + (THINNED_POINTS + 40) * TICKS_PER_POINT):
        push(rings, tick, ["a"], {"a": 1.0})
    assert len(rings.history("a")["times_s"]) <= FULL_TICKS + THINNED_POINTS


def test_unknown_is_null_and_stays_out_of_means() -> None:
    rings = Rings()
    push(rings, 0, ["a"], {"a": 1.0})
    push(rings, 1, ["a"], {"a": float("nan")})
    assert rings.history("a")["columns"]["demand"] == [1.0, None]


def test_memory_is_bounded_however_many_services_there_are() -> None:
    rings = Rings(budget_bytes=8 * 1024 * 1024)
    rings.slots_of([f"s{k}" for k in range(2000)])
    assert rings.nbytes < 10 * 1024 * 1024
