"""Where requests come from: a log, or a count series with lengths drawn from the scenario. Chunk by chunk, always the same chunks, so that a
run doesn't depend on the steps in which it is played."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from autoscaler.core.model import Floats
from replay.plant.requests.lengths import drawn
from replay.scenario import Requests
from replay.traces.requests import RequestLog

_CHUNK_REQUESTS: Final = 65_536
_CHUNK_MOST_S: Final = 86_400


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Requests of the seconds before until_s, columns (r,): arrival in seconds (rising), prompt and output tokens."""

    until_s: int
    times_s: Floats
    prompt: Floats
    output: Floats


class Source(Protocol):
    def next(self, from_s: int, demand: Floats) -> Arrivals:
        """The requests of the next chunk. demand (T,): what comes in each second from the trace's start."""
        ...


def _chunk_end(from_s: int, demand: Floats) -> int:
    """A chunk holds some ten thousand requests."""
    upto = np.cumsum(demand[from_s : from_s + _CHUNK_MOST_S])
    return min(from_s + int(np.searchsorted(upto, _CHUNK_REQUESTS)) + 1, len(demand))


class Drawn:
    """Requests after a demand, lengths from the scenario.

    A demand of whole numbers is taken as it is, at random moments of each second. Else the numbers are rates and drawn (Poisson); with
    `even`, request k comes when the cumulated demand reaches k + ½, and nothing is drawn but lengths.
    """

    def __init__(self, requests: Requests, demand: Floats, *, even: bool, rng: np.random.Generator) -> None:
        self._requests = requests
        self._rng = rng
        self._whole = bool((demand == np.floor(demand)).all())
        self._even = even
        self._sum = 0.0

    def next(self, from_s: int, demand: Floats) -> Arrivals:
        until_s = _chunk_end(from_s, demand)
        rates = demand[from_s:until_s]
        if self._even and not self._whole:
            times = self._evenly(from_s, rates)
        else:
            counts = rates.astype(np.int64) if self._whole else self._rng.poisson(rates)
            times = np.repeat(np.arange(from_s, until_s, dtype=np.float64), counts)
            times += self._rng.random(len(times))
            times.sort()
        prompt = drawn(self._requests.prompt_tokens, len(times), self._rng)
        output = drawn(self._requests.output_tokens, len(times), self._rng)
        return Arrivals(until_s, times, prompt, output)

    def _evenly(self, from_s: int, rates: Floats) -> Floats:
        upto = self._sum + np.concatenate([[0.0], np.cumsum(rates)])
        self._sum = float(upto[-1])
        places = np.arange(np.ceil(upto[0] - 0.5), np.ceil(upto[-1] - 0.5)) + 0.5
        seconds = np.arange(len(upto), dtype=np.float64)
        # A second without demand is a step of no height: a request lies before it.
        rises = np.concatenate([[True], np.diff(upto) > 0])
        starts: Floats = np.interp(places, upto[rises], seconds[rises])
        return np.minimum(from_s + starts, np.nextafter(from_s + len(rates), 0.0))


class Logged:
    """A log's requests. Where the demand of a second is f times what was recorded, each of its requests comes f times on average: whole
    copies, and one more or none by chance; the copies at random moments of the same second."""

    def __init__(self, log: RequestLog, rng: np.random.Generator) -> None:
        self._log = log
        self._rng = rng
        seconds = log.times_s.astype(np.int64)
        self._recorded = np.bincount(seconds, minlength=max(log.span_s, 1)).astype(np.float64)

    def next(self, from_s: int, demand: Floats) -> Arrivals:
        until_s = _chunk_end(from_s, demand)
        log = self._log
        first, last = np.searchsorted(log.times_s, (from_s, until_s)).tolist()
        times = log.times_s[first:last]
        if np.array_equal(demand[from_s:until_s], self._recorded[from_s:until_s]):
            tokens = (column[first:last].astype(np.float64) for column in (log.prompt_tokens, log.output_tokens))
            return Arrivals(until_s, times, *tokens)
        seconds = times.astype(np.int64)
        factor = demand[seconds] / self._recorded[seconds]
        copies = np.floor(factor).astype(np.int64)
        copies += self._rng.random(len(times)) < factor - copies
        picked = np.repeat(np.arange(first, last), copies)
        own = np.concatenate([[True], picked[1:] != picked[:-1]]) if len(picked) else np.zeros(0, dtype=np.bool_)
        moments = np.where(own, log.times_s[picked], np.floor(log.times_s[picked]) + self._rng.random(len(picked)))
        order = np.argsort(moments, kind="stable")
        picked = picked[order]
        return Arrivals(
            until_s,
            moments[order],
            log.prompt_tokens[picked].astype(np.float64),
            log.output_tokens[picked].astype(np.float64),
        )
