"""The plant counts slots where the plan packs replicas: where that is the same, and how far it is apart elsewhere (docs/replay.md says so)."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.allocation.packing import pack
from replay.plant.nodes import Pool

SLOTS = 8


def counted(replicas: dict[int, int]) -> int:
    """The plant's nodes. replicas: by size."""
    pool = Pool("pool", SLOTS)
    pool.held = sum(size * count for size, count in replicas.items())
    return pool.needed()


def packed(replicas: dict[int, int]) -> int:
    """The plan's nodes."""
    sizes = sorted(replicas, reverse=True)
    counts = np.array([[replicas[size] for size in sizes]])
    return int(pack(np.array([SLOTS]), np.array(sizes), counts).nodes[0])


@given(st.dictionaries(st.sampled_from([1, 2, 4, 8, 16]), st.integers(0, 40), min_size=1))
def test_sizes_that_divide_a_node_or_fill_it_take_as_many_nodes_as_their_slots(replicas: dict[int, int]) -> None:
    assert counted(replicas) == packed(replicas)


@given(st.dictionaries(st.integers(1, 24), st.integers(0, 40), min_size=1))
def test_others_take_more_but_never_fewer(replicas: dict[int, int]) -> None:
    assert counted(replicas) <= packed(replicas)


@pytest.mark.parametrize(
    ("size", "ratio"), [(1, 1.0), (2, 1.0), (3, 8 / 6), (4, 1.0), (5, 8 / 5), (6, 8 / 6), (7, 8 / 7), (8, 1.0)]
)
def test_of_one_size_alone_the_plant_is_short_by_what_it_leaves_of_a_node(size: int, ratio: float) -> None:
    many = {size: 5040}
    assert packed(many) == 5040 / (SLOTS // size)
    assert counted(many) == math.ceil(5040 * size / SLOTS)
    assert packed(many) / counted(many) == pytest.approx(ratio, rel=1e-3)
