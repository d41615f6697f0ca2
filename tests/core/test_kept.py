"""Learnt arrays and rings: rows move, are taken over, saved and loaded without a trace."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from autoscaler.core.kept import Column, Kept
from autoscaler.core.ring import Ring


class Pairs(Kept):
    sums: Any
    flags: Any

    def fresh(self, n: int) -> dict[str, Column]:
        return {"sums": np.full((n, 2), -1.0), "flags": np.zeros(n, dtype=np.bool_)}


def made() -> Pairs:
    pairs = Pairs(3)
    pairs.sums[:] = [[1, 2], [3, 4], [5, 6]]
    pairs.flags[:] = [True, False, True]
    return pairs


def test_rows_move_and_new_ones_know_nothing() -> None:
    pairs = made()
    pairs.rearrange(np.array([2, -1, 0, 0]))
    assert pairs.sums.tolist() == [[5, 6], [-1, -1], [1, 2], [1, 2]]
    assert pairs.flags.tolist() == [True, False, True, True]


def test_taking_over_leaves_the_others_alone() -> None:
    pairs, other = Pairs(2), made()
    pairs.adopt(other, np.array([-1, 1]))
    assert pairs.sums.tolist() == [[-1, -1], [3, 4]]


def test_it_is_saved_as_json_to_the_bit_and_refuses_what_is_not_its_own() -> None:
    pairs = made()
    pairs.sums[0, 0] = 0.1 + 0.2
    state = json.loads(json.dumps(pairs.save()))
    again = Pairs(3)
    again.load(state)
    assert again.sums.tolist() == pairs.sums.tolist()
    assert again.flags.tolist() == pairs.flags.tolist()
    stranger = Pairs(2)
    with pytest.raises(ValueError, match="reshape"):
        stranger.load(state)
    assert stranger.sums.tolist() == [[-1, -1], [-1, -1]]


def pushed(ring: Ring, values: range) -> Ring:
    for value in values:
        ring.push()[:] = [[value], [10 * value]]
    return ring


def test_a_ring_tells_what_was_how_many_moments_ago_for_all_or_for_each() -> None:
    ring = pushed(Ring(2, 4, 1), range(1, 7))
    assert ring.ago(0).tolist() == [[6], [60]]
    assert ring.ago(3).tolist() == [[3], [30]]
    assert ring.ago(np.array([1, 2])).tolist() == [[5], [40]]
    assert ring.in_order()[:, 0, 0].tolist() == [3, 4, 5, 6]


def test_a_ring_grows_shrinks_moves_and_survives() -> None:
    ring = pushed(Ring(2, 3, 1), range(1, 6))
    ring.resize(5)
    assert np.isnan(ring.ago(4)).all()
    assert ring.ago(2).tolist() == [[3], [30]]
    ring.rearrange(np.array([1, -1]))
    assert ring.ago(0)[0, 0] == 50
    assert np.isnan(ring.ago(0)[1, 0])
    again = Ring(2, 1, 1)
    again.load(json.loads(json.dumps(ring.save())))
    assert np.array_equal(again.in_order(), ring.in_order(), equal_nan=True)
    longer = pushed(Ring(2, 8, 1), range(1, 9))
    ring.adopt(longer, np.array([-1, 0]))
    assert ring.length == 8
    assert ring.ago(7)[1, 0] == 1
    assert ring.ago(0)[0, 0] == 50
