"""How many tokens requests have: exact quantiles of a log of any size, from how often each number came."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from replay.traces.requests import Tokens

_LARGEST: Final = 1 << 21
"""Beyond two million tokens a request counts as that many; no context is so long."""


class TokenCounts:
    """Numbers of tokens that pass by."""

    def __init__(self) -> None:
        self._times = np.zeros(1, dtype=np.int64)
        self._sum = 0

    def add(self, tokens: Tokens) -> None:
        found = np.bincount(np.minimum(tokens, _LARGEST), minlength=len(self._times))
        if len(found) > len(self._times):
            found[: len(self._times)] += self._times
            self._times = found
        else:
            self._times += found
        self._sum += int(tokens.sum(dtype=np.int64))

    def portrait(self) -> dict[str, Any]:
        """mean, quantiles, max, sum."""
        upto = np.cumsum(self._times)
        number = int(upto[-1])

        def quantile(q: float) -> int:
            return int(np.searchsorted(upto, max(1, int(np.ceil(q * number)))))

        return {
            "mean": self._sum / number if number else 0.0,
            **{name: quantile(q) if number else 0 for name, q in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0))},
            "sum": self._sum,
        }
