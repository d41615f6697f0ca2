"""What requests are in tokens, measured on rates and counts: the lengths of prompts and answers, the size of a KV cache, and how long a token takes.

Each is the ratio of two sums that forget, so that noise and gaps weigh by what they are of. What ended is what came less what the queue and the
batches grew by, what began is what came less what the queue grew by: that holds under overload, where the rate of tokens alone would not tell
short answers from few.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from autoscaler.core.columns import floats, number, plain, plain_number
from autoscaler.core.model import Floats, Ints, Observation
from autoscaler.core.rows import some
from autoscaler.core.seen import seen

LONGEST_STEP_S: Final = 90.0
"""Over longer steps it is unknown what came and went."""
LEAST_REQUESTS: Final = 10.0
"""So many must have come or gone within the memory for a mean of their tokens."""

WRITTEN, READ, HELD, WORKED = 0, 2, 4, 6
"""Columns of the sums, each followed by what it is divided by: tokens written ÷ requests ended, prompt tokens ÷ requests begun, tokens that
requests hold ÷ caches that are full, request-seconds as of lone requests ÷ tokens written meanwhile."""


class TokenMeans:
    """Of n services, (n,) each and NaN where too little was seen:

    prompt, output: tokens of the mean prompt and answer. cache: tokens that a replica's KV cache holds. alone_s: what a token takes a lone
    request, its share of reading prompts included."""

    def __init__(self, n: int) -> None:
        self._sums: Floats = np.zeros((n, 8))
        self._owed: Floats = np.zeros((n, 2))
        self._queue: Floats = np.full(n, np.nan)
        self._running: Floats = np.full(n, np.nan)
        self._seen_at_s = float("nan")

    @property
    def prompt(self) -> Floats:
        return self._mean(READ, LEAST_REQUESTS)

    @property
    def output(self) -> Floats:
        return self._mean(WRITTEN, LEAST_REQUESTS)

    @property
    def cache(self) -> Floats:
        return self._mean(HELD)

    @property
    def alone_s(self) -> Floats:
        return self._mean(WORKED)

    def _mean(self, pair: int, least: float = 0.0) -> Floats:
        first, second = self._sums[:, pair], self._sums[:, pair + 1]
        enough = (first > 0) & (second > 0) & (second >= least)
        mean: Floats = np.divide(first, second, out=np.full(len(first), np.nan), where=enough)
        return mean

    # ------------------------------------------------------------ learning

    def learn(self, observation: Observation, memory_s: Floats) -> None:
        """Takes a tick in; what is older counts ever less, e-fold in `memory_s` (n,)."""
        step_s = observation.at_s - self._seen_at_s
        queue, running = seen(observation, "queue"), seen(observation, "running")
        if 0.0 < step_s <= LONGEST_STEP_S:
            keep = np.maximum(1.0 - step_s / memory_s, 0.0)[:, None]
            self._sums, self._owed = self._sums * keep, self._owed * keep
            self._take(observation, step_s, queue, running)
        self._queue, self._running, self._seen_at_s = queue, running, observation.at_s

    def _take(self, observation: Observation, step_s: float, queue: Floats, running: Floats) -> None:
        written = seen(observation, "output_tokens") * step_s
        begun = seen(observation, "demand") * step_s - (queue - self._queue)
        self._add(WRITTEN, written, self._so_far(0, begun - (running - self._running)))
        self._add(READ, seen(observation, "prompt_tokens") * step_s, self._so_far(1, begun))
        ready = observation.ready
        running = np.where(np.isnan(self._running), np.nan, running)  # a row's first tick ends no step of its own
        held = running * (self.prompt + 0.5 * self.output)
        self._add(HELD, held, seen(observation, "kv_cache_utilization") * ready)
        with np.errstate(divide="ignore", invalid="ignore"):
            batch = np.where(ready > 0, running / ready, np.nan)
        self._add(WORKED, running * step_s / (1.0 + batch / observation.slots_slowdown), written)

    def _so_far(self, which: int, count: Floats) -> Floats:
        """What ended or began in a tick; NaN where the count is negative, since a burst is inside before the mean demand shows it. That is owed
        until it does: a few requests must not seem to have had all the tokens."""
        total: Floats = count + self._owed[:, which]
        self._owed[:, which] = np.where(np.isnan(total), self._owed[:, which], np.minimum(total, 0.0))
        return np.where(total >= 0, total, np.nan)

    def _add(self, pair: int, first: Floats, second: Floats) -> None:
        """Both or none, so that their ratio is of the same moments."""
        known = ~np.isnan(first + second)
        self._sums[:, pair] += np.where(known, first, 0.0)
        self._sums[:, pair + 1] += np.where(known, second, 0.0)

    # ------------------------------------------------------------ what survives

    def rearrange(self, rows: Ints) -> None:
        """New row i is the old row rows[i], or a new service where that is −1."""
        self._sums = np.concatenate([self._sums, np.zeros((1, 8))])[rows]
        self._owed = np.concatenate([self._owed, np.zeros((1, 2))])[rows]
        self._queue, self._running = np.append(self._queue, np.nan)[rows], np.append(self._running, np.nan)[rows]

    def adopt(self, other: TokenMeans, rows: Ints) -> None:
        """Row i takes over what `other` has learnt of its row rows[i]; rows of −1 keep their own."""
        if self._seen_at_s != self._seen_at_s:
            self._seen_at_s = other._seen_at_s
        taken, theirs = rows >= 0, np.maximum(rows, 0)
        if len(other._sums) and some(taken):
            self._sums = np.where(taken[:, None], other._sums[theirs], self._sums)
            self._owed = np.where(taken[:, None], other._owed[theirs], self._owed)
            # What was inside is of our latest tick, where there was one.
            self._queue = np.where(taken & np.isnan(self._queue), other._queue[theirs], self._queue)
            self._running = np.where(taken & np.isnan(self._running), other._running[theirs], self._running)

    def shift(self, by_s: float) -> None:
        """The clock was set by `by_s`."""
        self._seen_at_s += by_s

    def save(self) -> dict[str, Any]:
        return {
            "sums": self._sums.tolist(),
            "owed": self._owed.tolist(),
            "queue": plain(self._queue),
            "running": plain(self._running),
            "seen_at_s": plain_number(self._seen_at_s),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Takes back what save gave, of as many rows."""
        n = len(self._sums)
        if len(state["sums"]) == n:
            self._sums = np.array(state["sums"], dtype=np.float64).reshape(n, 8)
            self._owed = np.array(state["owed"], dtype=np.float64).reshape(n, 2)
            self._queue, self._running = floats(state["queue"]), floats(state["running"])
            self._seen_at_s = number(state["seen_at_s"])
