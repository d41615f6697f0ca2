"""The split in time."""

from __future__ import annotations

import pytest

from autoscaler.errors import UsageError
from replay.tune.parts import DAY_S, Stretch, parts_of


def test_the_last_third_is_held_out_and_the_warm_up_is_in_neither() -> None:
    found = parts_of("week", 2 * DAY_S, 8 * DAY_S, 1 / 3)
    assert found.training == Stretch(from_s=2 * DAY_S, until_s=6 * DAY_S)
    assert found.held_out == Stretch(from_s=6 * DAY_S, until_s=8 * DAY_S)


def test_the_first_stretch_holds_a_day_and_is_left_out_where_it_saves_nothing() -> None:
    week = parts_of("week", 0, 7 * DAY_S, 1 / 3)
    assert week.rung is not None
    assert week.rung.scored_s == pytest.approx(7 / 6 * DAY_S, abs=60), "a quarter of the training part"
    four = parts_of("four days", 0, 4 * DAY_S, 1 / 3)
    assert four.rung == Stretch(from_s=0, until_s=DAY_S)
    assert parts_of("two days", 0, 2 * DAY_S, 1 / 3).rung is None
    assert parts_of("week", 2 * DAY_S, 7 * DAY_S, 1 / 3).rung is None, "the warm-up is played in any case"


def test_a_trace_that_is_too_short_is_refused() -> None:
    with pytest.raises(UsageError, match=r"trace short: 1200 s .* leave 420 s for the held-out part; 600 s is the least"):
        parts_of("short", 0, 1200, 1 / 3)
    with pytest.raises(UsageError, match="training part"):
        parts_of("short", 0, 3600, 0.9)
