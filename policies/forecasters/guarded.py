"""A stranger's forecaster among ours: whatever it does, decisions go on.

It is shown copies, so that what it writes harms nobody. Where it raises, or says something of another shape than (n, experts), it is
silenced for all services, as if none of its experts could tell, until it is made anew (a restart); that is logged once and said in
explanations. What no rate can be (a logarithm beyond LARGEST_LOG) counts as "can't tell" for that one service."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from autoscaler.core.forecaster import LARGEST_LOG, Forecaster, ForecasterType, Moment
from autoscaler.core.model import Floats, Ints

_log = logging.getLogger(__name__)
_told: set[tuple[str, str]] = set()
"""What has been logged: many objects are made of one forecaster, one for each past that is learnt."""
Given = TypeVar("Given")


class Guarded:
    """A forecaster that can't harm others. fault: why it is silenced; empty while it isn't."""

    def __init__(self, kind: ForecasterType, n: int) -> None:
        self.name = kind.name
        self.fault = ""
        self._kind = kind
        self._n = n
        self._inner: Forecaster | None = None
        self._anew()

    def _anew(self) -> None:
        self._inner = self._tried("make", lambda: self._kind.make(self._n))

    def _tried(self, doing: str, call: Callable[[], Given]) -> Given | None:
        """The answer; None where it raised, and then it is silenced."""
        try:
            return call()
        except Exception as fault:  # a stranger's code may raise anything
            self.fault = f"{doing}: {type(fault).__name__}: {fault}"
            self._inner = None
            self._tell(doing, f"is silenced, decisions go on without it: {self.fault}")
            return None

    def _tell(self, doing: str, words: str) -> None:
        if (self.name, doing) not in _told:
            _told.add((self.name, doing))
            _log.warning("forecaster %s %s", self.name, words)

    def observe(self, moment: Moment) -> None:
        inner = self._inner
        if inner is not None:
            self._tried("observe", lambda: inner.observe(_copied(moment)))

    def forecast(self) -> Floats:
        inner = self._inner
        found = None if inner is None else self._tried("forecast", lambda: self._shaped(inner.forecast()))
        return np.full((self._n, len(self._kind.experts)), np.nan) if found is None else found

    def _shaped(self, said: Any) -> Floats:
        found = np.asarray(said, dtype=np.float64)
        wanted = (self._n, len(self._kind.experts))
        if found.shape != wanted:
            raise ValueError(f"an array of shape {found.shape}, where {wanted} is allowed: services, experts")
        return np.where(np.abs(found) <= LARGEST_LOG, found, np.nan)

    def rearrange(self, rows: Ints) -> None:
        inner, self._n = self._inner, len(rows)
        if inner is not None:
            self._tried("rearrange", lambda: inner.rearrange(rows.copy()))

    def adopt(self, other: Guarded, rows: Ints) -> None:
        mine, theirs = self._inner, other._inner
        if mine is not None and theirs is not None:
            self._tried("adopt", lambda: mine.adopt(theirs, rows.copy()))

    def save(self) -> Any:
        """None where there is nothing to be saved."""
        inner = self._inner
        return None if inner is None else self._tried("save", lambda: _plain(inner.save()))

    def load(self, state: Any) -> None:
        """State that it can't use costs what it had learnt, not what the others have."""
        inner = self._inner
        if inner is None or state is None:
            return
        try:
            inner.load(state)
        except Exception as fault:  # a stranger's code may raise anything
            self._tell("load", f"learns anew, its saved state can't be used: {type(fault).__name__}: {fault}")
            self._anew()


def _copied(moment: Moment) -> Moment:
    known = moment.known
    return replace(
        moment,
        rates=moment.rates.copy(),
        known=None if known is None else known.copy(),
        logs=moment.logs.copy(),
        floors=moment.floors.copy(),
        levels=moment.levels.copy(),
        reached=moment.reached.copy(),
        ahead_s=moment.ahead_s.copy(),
    )


def _plain(state: Any) -> Any:
    """The state, where it is plain JSON. Raises TypeError or ValueError."""
    json.dumps(state, allow_nan=False)
    return state
