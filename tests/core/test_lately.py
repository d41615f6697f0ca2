"""What happened lately, to whom, and until when it counts."""

from __future__ import annotations

import json

import numpy as np

from autoscaler.core.lately import Lately


def of_three() -> Lately:
    """It counts for 10 s, 100 s and 10 s; the last two are marked at 1,000 s."""
    made = Lately(0.0)
    made.rearrange(np.array([-1, -1, -1]), np.array([10.0, 100.0, 10.0]))
    made.mark([1, 2], 1000.0)
    return made


def told(lately: Lately, at_s: float) -> list[bool] | None:
    found = lately.look(at_s)
    return None if found is None else found.tolist()


def test_each_counts_for_its_own_time_and_who_was_never_marked_for_none() -> None:
    lately = of_three()
    assert told(lately, 1005.0) == [False, True, True]
    assert told(lately, 1010.0) == [False, True, False]
    assert told(lately, 1100.0) is None
    assert told(Lately(300.0), 0.0) is None


def test_it_moves_with_its_rows_and_with_the_clock() -> None:
    lately = of_three()
    lately.rearrange(np.array([2, -1]), 20.0)
    assert told(lately, 1015.0) == [True, False]
    lately.shift(500.0)
    assert told(lately, 1515.0) == [True, False]
    assert told(lately, 1521.0) is None


def test_it_is_the_same_after_it_was_saved() -> None:
    again = of_three()
    times = json.loads(json.dumps(again.save()))
    assert times == [None, 1000.0, 1000.0]
    again.rearrange(np.array([-1, -1, -1]), np.array([10.0, 100.0, 10.0]))
    assert told(again, 1005.0) is None
    again.load(times)
    assert told(again, 1005.0) == [False, True, True]
