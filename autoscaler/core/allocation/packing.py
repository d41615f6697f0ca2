"""How many nodes replicas fill: a replica is never split over nodes, and what a node has left takes the smaller ones.

First fit decreasing by size (Johnson, Near-Optimal Bin Packing Algorithms, 1973), for all pools at once. Where each size divides the
next larger one and the node's, as 1, 2, 4 and 8 do, it is optimal; else it takes at most 11/9 of the fewest nodes, and 6/9 of one more
(Dósa, The Tight Bound of First Fit Decreasing Bin-Packing Algorithm, 2007).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from autoscaler.core.model import Ints
from autoscaler.core.node_pools import PoolTable


@dataclass(slots=True, kw_only=True)
class Packed:
    """nodes (P,), and how many of them have r accelerators left: left (P, r). per_node (P,): accelerators."""

    per_node: Ints
    nodes: Ints
    left: Ints

    def room(self, pool: int, size: int, most_nodes: int) -> int:
        """Further replicas of `size` that fit into what is left, and onto new nodes up to `most_nodes`."""
        per_node = int(self.per_node[pool])
        new = max(most_nodes - int(self.nodes[pool]), 0)
        if size > per_node:
            return new // -(-size // per_node)
        left = self.left[pool, size:]
        return int((left * (np.arange(size, size + len(left)) // size)).sum()) + new * (per_node // size)

    def put(self, pool: int, size: int, count: int) -> None:
        """Adds replicas to those that are there, which stay where they are."""
        per_node, left = int(self.per_node[pool]), self.left[pool]
        if size > per_node:
            self.nodes[pool] += count * -(-size // per_node)
            return
        for room in (size + np.flatnonzero(left[size:])).tolist():
            each = room // size
            here = min(count, int(left[room]) * each)
            whole, partly = divmod(here, each)
            left[room] -= whole + (partly > 0)
            left[room - each * size] += whole
            left[room - partly * size] += partly > 0
            count -= here
        each = per_node // size
        whole, partly = divmod(count, each)
        self.nodes[pool] += whole + (partly > 0)
        left[per_node - each * size] += whole
        left[per_node - partly * size] += partly > 0


def packed(table: PoolTable, replicas: Ints) -> Packed:
    """The nodes that replicas (J,) fill."""
    return pack(table.per_node, table.sizes, table.by_size(replicas))


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
        rest = _fill(left, size, rest)
        each = np.maximum(per_node // size, 1)
        whole, partly = np.divmod(rest, each)
        nodes += whole + (partly > 0)
        rows = np.arange(pools)
        # What spans leaves nothing; rest is 0 there.
        np.add.at(left, (rows, np.maximum(per_node - each * size, 0)), whole)
        np.add.at(left, (rows, np.maximum(per_node - partly * size, 0)), partly > 0)
    return Packed(per_node=per_node, nodes=nodes, left=left)


def _fill(left: Ints, size: int, rest: Ints) -> Ints:
    """Puts as many of `rest` (P,) as fit onto nodes that have something left, the fullest first; what is still without a place."""
    rest = rest.copy()
    pools = np.flatnonzero(rest)
    while len(pools):
        fits = left[pools, size:] > 0
        room = fits.argmax(axis=1)
        found = fits[np.arange(len(pools)), room]
        pools, room = pools[found], room[found] + size
        each = room // size
        put = np.minimum(rest[pools], left[pools, room] * each)
        whole, partly = np.divmod(put, each)
        left[pools, room] -= whole + (partly > 0)
        left[pools, room - each * size] += whole
        left[pools, room - partly * size] += partly > 0
        rest[pools] -= put
        pools = pools[rest[pools] > 0]
    return rest
