"""How many tokens requests have: drawn from the scenario's distributions, or as a log says; and what work that makes.

Work is counted in token-equivalents: an output token is one, a prompt token ``prompt_weight`` of one (0.1), since a prompt is read in
large pieces and an output written token by token.
"""

from __future__ import annotations

import math

import numpy as np

from autoscaler.core.model import Floats
from replay.scenario import TokenLengths


def drawn(lengths: TokenLengths, count: int, rng: np.random.Generator) -> Floats:
    """Whole numbers of tokens, (count,)."""
    mean = lengths.mean
    match lengths.distribution:
        case "Measured":
            return rng.choice(np.asarray(lengths.values), count)
        case "Exponential":
            return np.rint(rng.exponential(mean, count))
        case "Lognormal" if mean > 0 and lengths.spread > 0:
            variance = math.log1p(lengths.spread**2)
            # Half the time of rng.lognormal, which takes its exponentials one by one.
            numbers = rng.standard_normal(count)
            numbers *= math.sqrt(variance)
            numbers += math.log(mean) - variance / 2
            np.exp(numbers, out=numbers)
            return np.rint(numbers, out=numbers)
    return np.full(count, np.rint(mean))


def mean_of(lengths: TokenLengths) -> float:
    return float(np.mean(lengths.values)) if lengths.distribution == "Measured" else lengths.mean
