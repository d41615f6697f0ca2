"""Nodes beyond the need for those that will be lost: a replacement takes a node's lead time, and replicas wait for as long.

A node beyond the need is worth its price while it is needed within a lead time more often than in 1 ÷ (1 + waiting cost) of them, as in
``cool_down``. How many are lost within one is taken to be Poisson, with the rate that was learnt from the pool's own losses: nodes are
reclaimed by a provider, one here and one there. Where many go at once, more are lost than this says.
"""

from __future__ import annotations

import numpy as np

from autoscaler.core.model import Floats, Ints

_MOST_EXPECTED = 500.0
"""Beyond it e^−mean is no number any more, and no plan makes up for such losses."""


def beyond_need(nodes: Ints, loss_per_node_hour: Floats, lead_s: Floats, waiting_cost: Floats) -> Ints:
    """The fewest nodes (P,) beyond `nodes` (P,) that more are lost than within a lead time in at most 1 ÷ (1 + waiting_cost) of them. None
    where the rate is NaN: nobody has seen a loss."""
    mean = np.minimum(np.nan_to_num(nodes * loss_per_node_hour * lead_s / 3600.0), _MOST_EXPECTED)
    accepted = 1.0 / (1.0 + waiting_cost)
    fewest = np.zeros(len(nodes), dtype=np.int64)
    just = np.exp(-mean)  # the probability of just so many losses
    more = 1.0 - just  # of more than so many
    count = 0
    while (short := more > accepted).any():
        count += 1
        fewest[short] = count
        just = just * mean / count
        more = np.where(short, more - just, more)
        if count > nodes.max():
            break
    return np.minimum(fewest, nodes)


def words(beyond: int, loss_per_node_hour: float, lead_s: float) -> str:
    """Why so many nodes are there beyond the need."""
    return (
        f"{beyond} more for {'one that is' if beyond == 1 else 'those that are'} lost: a node is lost every {1 / loss_per_node_hour:.0f} h, and "
        f"another one takes {lead_s:.0f} s"
    )
