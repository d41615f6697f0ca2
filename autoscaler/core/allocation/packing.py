"""How many nodes replicas fill: a replica is never split over nodes, and what a node has left takes the smaller ones.

First fit decreasing by size (Johnson, Near-Optimal Bin Packing Algorithms, 1973), for all pools at once. Where each size divides the
next larger one and the node's, as 1, 2, 4 and 8 do, it is optimal; else it takes at most 11/9 of the fewest nodes, and 6/9 of one more
(Dósa, The Tight Bound of First Fit Decreasing Bin-Packing Algorithm, 2007).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from autoscaler.core.model import Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """nodes (P,), and how many of them have r accelerators left: left (P, r)."""

    nodes: Ints
    left: Ints

    def room(self, pool: int, size: int, per_node: int, most_nodes: int) -> int:
        """Further replicas of `size` that fit into what is left, and onto new nodes up to `most_nodes`."""
        left = self.left[pool, size:]
        beside = int((left * (np.arange(size, size + len(left)) // size)).sum())
        new = max(most_nodes - int(self.nodes[pool]), 0)
        return beside + (new * (per_node // size) if size <= per_node else new // -(-size // per_node))


def pack(per_node: Ints, sizes: Ints, counts: Ints) -> Packed:
    """per_node (P,): accelerators. sizes (S,): falling. counts (P, S): replicas of each size. Sizes above a node's take whole nodes."""
    pools = len(per_node)
    nodes = np.zeros(pools, dtype=np.int64)
    left = np.zeros((pools, int(per_node.max(initial=0)) + 1), dtype=np.int64)
    for number, size in enumerate(sizes.tolist()):
        rest = counts[:, number]
        if not rest.any():
            continue
        spans = per_node < size
        if spans.any():
            nodes += np.where(spans, rest * -(-size // per_node), 0)
            rest = np.where(spans, 0, rest)
        for room in range(size, left.shape[1]):
            if left[:, room].any():
                rest = _fill(left, room, size, rest)
        each = np.maximum(per_node // size, 1)
        whole, partly = np.divmod(rest, each)
        nodes += whole + (partly > 0)
        rows = np.arange(pools)
        # What spans leaves nothing; rest is 0 there.
        np.add.at(left, (rows, np.maximum(per_node - each * size, 0)), whole)
        np.add.at(left, (rows, np.maximum(per_node - partly * size, 0)), partly > 0)
    return Packed(nodes=nodes, left=left)


def _fill(left: Ints, room: int, size: int, rest: Ints) -> Ints:
    """Puts as many of `rest` (P,) as fit onto nodes that have `room` left; what is still without a place."""
    each = room // size
    there = left[:, room]
    put = np.minimum(rest, there * each)
    whole, partly = np.divmod(put, each)
    used = whole + (partly > 0)
    left[:, room] -= used
    left[:, room - each * size] += whole
    np.add.at(left, (np.arange(len(rest)), room - partly * size), partly > 0)
    return rest - put
