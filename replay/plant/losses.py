"""Which replicas go when nodes go. Slots are counted, not placed, so chance says who was on the lost nodes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Kinds = tuple[int, int, int]
"""Replicas that are ready, starting (in a slot), draining."""


def lost_by_service(
    replicas: Sequence[Kinds], slots_each: Sequence[int], free: int, slots: int, rng: np.random.Generator
) -> list[Kinds]:
    """How many replicas of each service and kind were in `slots` slots taken at random out of all used ones and `free` free ones.

    A replica of several slots goes with the rounded share of them that was drawn; what is left always fits the slots that stay."""
    held = np.array(replicas, dtype=np.int64).reshape(-1, 3)
    each = np.array(slots_each, dtype=np.int64)[:, None]
    used = held * each
    drawn = rng.multivariate_hypergeometric([*used.ravel().tolist(), free], slots)[:-1].reshape(used.shape)
    lost = np.minimum(np.rint(drawn / np.maximum(each, 1)).astype(np.int64), held)
    # What rounding left over on the nodes that stay has to go, too: of the service with the most left.
    room = int(used.sum()) + free - slots
    while int(((held - lost) * each).sum()) > room:
        left = (held - lost) * each
        row, kind = np.unravel_index(int(left.argmax()), left.shape)
        lost[row, kind] += 1
    return [(int(ready), int(starting), int(draining)) for ready, starting, draining in lost.tolist()]
