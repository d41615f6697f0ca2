"""How often forecasts turn out to be so many spreads too low: the quantiles of what really happened, whatever its shape."""

from __future__ import annotations

from typing import Final

import numpy as np

from autoscaler.core.kept import Column, Kept
from autoscaler.core.model import Bools, Floats

EDGES: Final[Floats] = np.concatenate([np.linspace(-1.0, 4.0, 26), [4.5, 5.0, 6.0, 7.0, 8.0, 10.0, 12.0, 16.0]])
BINS: Final = len(EDGES) + 1
PRIOR: Final = 500.0
"""So many made-up misses stand for what is known of forecasts in general, until a service has shown more of its own."""
MEMORY_S: Final = 14 * 86_400.0
"""The half-life of what was seen. Long, since one miss in a thousand shows only in days."""


def _student() -> Floats:
    """The share of each bin in Student's distribution with 4 degrees of freedom: errors of forecasts have heavy tails.

    With r = t ÷ √(4 + t²) its distribution function is 1/2 + 3/4 × (r − r³/3) (Abramowitz & Stegun 26.7.4)."""
    ratio = EDGES / np.sqrt(4.0 + EDGES**2)
    below = 0.5 + 0.75 * (ratio - ratio**3 / 3.0)
    return np.diff(np.concatenate([[0.0], below, [1.0]]))


class Misses(Kept):
    """counts (n, BINS): how often an error was so many spreads, by bins between EDGES.

    Quantiles of standardised errors, as in conformal prediction (Vovk, Gammerman & Shafer, Algorithmic Learning in a Random World, 2005;
    with forgetting for data that drift: Barber et al., Conformal prediction beyond exchangeability, Annals of Statistics 51, 2023)."""

    counts: Floats

    def fresh(self, n: int) -> dict[str, Column]:
        return {"counts": np.tile(_student() * PRIOR, (n, 1))}

    def learn(self, spreads: Floats, interval_s: float, known: Bools | None) -> None:
        """spreads (n,): by how many spreads what came exceeded what was expected."""
        rows = np.arange(len(spreads)) if known is None else np.flatnonzero(known)
        places = EDGES.searchsorted(spreads if known is None else spreads[rows], side="right")
        keep = 0.5 ** (interval_s / MEMORY_S)
        if known is None:
            self.counts *= keep
        else:
            self.counts[rows] *= keep
        np.add.at(self.counts, (rows, places), 1.0)

    def exceeded(self, shares: Floats) -> Floats:
        """How many spreads are exceeded with the probabilities `shares` (n, k): (n, k)."""
        from_top = np.add.accumulate(self.counts[:, ::-1], 1)
        wanted = shares * from_top[:, -1:]
        whole = np.add.reduce(from_top[:, :, None] < wanted[:, None, :], 1)  # bins that lie wholly above
        whole = np.minimum(whole, BINS - 2)
        rows = np.arange(len(shares))[:, None]
        above = np.where(whole > 0, from_top[rows, whole - 1], 0.0)
        inside = self.counts[rows, BINS - 1 - whole]
        part = np.minimum((wanted - above) / np.maximum(inside, 1e-9), 1.0)
        upper = EDGES[np.minimum(BINS - 1 - whole, BINS - 2)]
        lower = EDGES[BINS - 2 - whole]
        return np.asarray(np.where(whole > 0, upper - part * (upper - lower), EDGES[-1]))
