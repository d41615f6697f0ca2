"""Single requests, block by block: how a request log of any size is read in bounded memory.

A log's times are kept as whole seconds of its own clock (`origin_s`) and seconds after that: a Unix time as one float would round the
arrival to a quarter of a microsecond, and a difference of two arrivals to twice that.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from autoscaler.core.model import Floats
from replay.traces.error import TraceError
from replay.traces.requests import RequestLog, Tokens
from replay.traces.series import CountSeries

MOST_BINS: Final = 50_000_000
MOST_TOKENS: Final = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestBlock:
    """Some requests in the order of their file, columns (r,).

    times_s: seconds after origin_s, negative where a request stands below a later one. origin_s: whole seconds of the file's own clock, the
    same in every block of a file. prompt_tokens, output_tokens: ≥ 0.
    """

    origin_s: int
    times_s: Floats
    prompt_tokens: Tokens
    output_tokens: Tokens

    def __len__(self) -> int:
        return len(self.times_s)


def request_log(blocks: Iterator[RequestBlock], name: str) -> RequestLog:
    """All requests in the order of their arrival. The recording begins with the whole second of the first one. 16 bytes a request."""
    kept = list(blocks)
    times_s = np.concatenate([block.times_s for block in kept]) if kept else np.empty(0)
    prompt = np.concatenate([block.prompt_tokens for block in kept]) if kept else np.empty(0, np.int32)
    output = np.concatenate([block.output_tokens for block in kept]) if kept else np.empty(0, np.int32)
    origin_s = kept[0].origin_s if kept else 0
    del kept
    if len(times_s) and (np.diff(times_s) < 0).any():
        order = np.argsort(times_s, kind="stable")
        times_s, prompt, output = times_s[order], prompt[order], output[order]
    first_s = int(np.floor(times_s[0])) if len(times_s) else 0
    return RequestLog(
        name=name, start_s=float(origin_s + first_s), times_s=times_s - first_s, prompt_tokens=prompt, output_tokens=output
    )


class Counting:
    """Requests counted by bin while their blocks pass by; its memory grows with the log's span, not with its requests."""

    def __init__(self, path: object, bin_s: float = 1.0) -> None:
        self._path = str(path)
        self._bin_s = bin_s
        self._counts = np.zeros(1024, dtype=np.int64)
        self._first = 0
        self._used = 0
        self._origin_s: int | None = None

    def add(self, block: RequestBlock, weights: Tokens | None = None) -> None:
        """weights: what each request counts for, such as its tokens. Raises TraceError where the log spans too many bins."""
        if not len(block):
            return
        places = np.floor(block.times_s / self._bin_s).astype(np.int64)
        low, high = int(places.min()), int(places.max())
        if self._origin_s is None:
            self._origin_s, self._first, self._used = block.origin_s, low, 0
        last = max(self._first + self._used - 1, high)
        first = min(self._first, low)
        if last - first + 1 > MOST_BINS:
            raise TraceError(
                self._path,
                0,
                f"its requests lie {(last - first) * self._bin_s:.0f} s apart; {MOST_BINS} bins of {self._bin_s:g} s are allowed",
            )
        self._make_room(first, last)
        found = np.bincount(places - low, weights=weights, minlength=high - low + 1)
        self._counts[low - first : high - first + 1] += found.astype(np.int64)

    def series(self, name: str) -> CountSeries:
        """What was counted. Raises TraceError where that is nothing."""
        if self._origin_s is None:
            raise TraceError(self._path, 2, "no requests below the first line")
        return CountSeries(
            name=name,
            start_s=self._origin_s + self._first * self._bin_s,
            bin_s=self._bin_s,
            counts=self._counts[: self._used].astype(np.float64),
        )

    def _make_room(self, first: int, last: int) -> None:
        used = last - first + 1
        before = self._first - first
        if before or used > len(self._counts):
            grown = np.zeros(
                max(used, len(self._counts) if before == 0 and used <= len(self._counts) else 2 * used), dtype=np.int64
            )
            grown[before : before + self._used] = self._counts[: self._used]
            self._counts = grown
        self._first, self._used = first, used


def counted_blocks(blocks: Iterator[RequestBlock], path: object, name: str, bin_s: float = 1.0) -> CountSeries:
    """The count series of a log. Raises TraceError."""
    counting = Counting(path, bin_s)
    for block in blocks:
        counting.add(block)
    return counting.series(name)
