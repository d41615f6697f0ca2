"""One forecast of the demand to come from all experts: its centre, its spread, and how often it proved too low.

What is forecast is the log of the effective demand (``core.envelope``) of the window in which a replica that is ordered now begins to
serve: it lies the lead time ahead of now. When that window has passed, the forecast made for it is compared with what came, and three
things are learnt, each by its own file: how much each expert's word is worth (``regression``), how far off the forecast will be
(``spread``), and how often it is off by more than that (``misses``). A forecast is never judged by what it was made from.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log
from typing import Any, Final

import numpy as np

from autoscaler.core.columns import rearranged
from autoscaler.core.constant import constant
from autoscaler.core.envelope import Stretches
from autoscaler.core.forecaster import ForecasterType, Moment
from autoscaler.core.history import History
from autoscaler.core.model import Bools, Floats, Ints, Parts
from autoscaler.core.ring import Ring
from autoscaler.core.rows import beside, every, some
from autoscaler.core.seen import any_unknown
from autoscaler.core.value import maker
from policies.forecasters.guarded import Guarded
from policies.forecasters.levels import MINUTE, Levels
from policies.forecasters.misses import Misses
from policies.forecasters.regression import Regression
from policies.forecasters.season import Season
from policies.forecasters.spread import FEATURES, Spread

MEMORY_S: Final = 150_000.0
"""How long an example of what experts are worth counts (to 1/e): 42 hours."""
LONGEST_AHEAD_S: Final = 2400.0
"""A window further ahead is forecast as if it lay there: nothing is known of it but the season."""
LONGEST_STEP_S: Final = 90.0
"""Samples further apart (the far past, shown in steps of five minutes) teach forecasters, but nothing about short windows."""
BEYOND: Final = 0.3
"""A mix may lie so far (in logs) above or below all of its experts, no further: what none of them says is no forecast."""
JUDGED: Final = 2
LEARNT: Final = 4
"""Every so many moments a forecast is judged, and something is learnt from it: the windows of successive ones overlap, and tell little more
at several times the price."""
LONGEST_GAP: Final = 240
"""Missing moments that are filled in as unknown ones; after more the rings begin anew."""
TOLD: Final = 3
"""So many forecasters are named in an explanation."""
REST: Final = "all else"
_OFFSET: Final = constant(0.1)
"""What the mix's own offset is a multiple of."""
_BEYOND: Final = constant(BEYOND)
_make_moment = maker(Moment)
_SAID: Final = ("centre", "spread", "reached", "recent")


class Outlook:
    """The forecast for n services. centre (n,): the log of the effective demand that is as likely as not to be exceeded; spread (n,): the
    usual error, in logs; NaN before the first known sample. reached (n,): the log of what the last window needed."""

    def __init__(self, n: int, forecasters: Sequence[ForecasterType], window_s: float) -> None:
        self._window_s = window_s
        self.levels = Levels(n)
        self.names = [name for kind in forecasters for name in kind.experts]
        self._kinds = forecasters
        self._experts = [self._made_of(kind, n) for kind in forecasters]
        self._level_is_told = any(one is self.levels for one in self._experts)
        self.mix = Regression(n, np.zeros(len(self.names) + 1))
        self.spreads = Spread(n)
        self.misses = Misses(n)
        self._rates = History(n, 1)
        self._made = Ring(n, 1, len(self.names) + 1 + FEATURES + 3)
        self._interval_s = 0.0
        self._at_s = float("nan")
        self._stretches: Stretches | None = None
        self._allowed_s: Floats | None = None
        self._ahead_s: Floats | None = None
        self._moments: int | Ints = 0
        self.centre: Floats = np.full(n, np.nan)
        self.spread: Floats = np.full(n, np.nan)
        self.reached: Floats = np.full(n, np.nan)
        self.recent: Floats = np.full(n, np.nan)
        """Effective demand (n,) in requests/s of the latest samples alone."""
        self.known: Bools | None = None
        """Rows (n,) whose latest sample is known; None: all of them."""
        self.quiet: Bools | None = None
        """Rows (n,) whose last minutes brought next to nothing; None: there are none."""
        self.judged: Floats | None = None
        """By how many spreads what came in the latest window exceeded the forecast made for it, (n,), NaN where there was none; None: no
        forecast was due."""

    def _made_of(self, kind: ForecasterType, n: int) -> Any:
        if kind.make is Levels:
            return self.levels
        ours = getattr(kind.make, "__module__", "").startswith("policies.forecasters.")
        return kind.make(n) if ours else Guarded(kind, n)

    # ------------------------------------------------------------ a moment

    def observe(self, at_s: float, interval_s: float, rates: Floats, floors: Floats, ahead_s: Floats, allowed_s: Floats) -> None:
        """Takes the samples (n,) that end at `at_s`, NaN where unknown. floors (n,): rates below them are as good as none. ahead_s (n,):
        from at_s to the beginning of the window that matters. allowed_s (n,): the longest wait allowed."""
        if interval_s > LONGEST_STEP_S:
            self._far(at_s, interval_s, rates, floors, ahead_s)
            return
        self._arrange(interval_s, ahead_s, allowed_s)
        missed = round((at_s - self._at_s) / interval_s) - 1 if self._at_s == self._at_s else 0
        for _ in range(min(max(missed, 0), LONGEST_GAP)):
            self._rates.push(at_s, np.full(len(rates), np.nan))
            self._made.push()[:] = np.nan
        self._at_s = at_s
        self._step(at_s, interval_s, rates, floors, ahead_s)

    def _far(self, at_s: float, interval_s: float, rates: Floats, floors: Floats, ahead_s: Floats) -> None:
        nothing = np.full(len(rates), np.nan)
        self._show(self._moment(at_s, interval_s, rates, floors, nothing, ahead_s, whole=False))

    def _arrange(self, interval_s: float, ahead_s: Floats, allowed_s: Floats) -> None:
        """Follows the interval, the lead times and the waits allowed, where they have changed."""
        if interval_s != self._interval_s:
            self._interval_s = interval_s
            samples = max(round(self._window_s / interval_s), 1)
            self._rates, self._made = History(len(ahead_s), samples), Ring(len(ahead_s), 1, self._made.width)
            self._stretches = self._allowed_s = self._ahead_s = None
        if self._stretches is None or allowed_s is not self._allowed_s:
            self._allowed_s = allowed_s
            self._stretches = Stretches(self._rates.length, interval_s, allowed_s)
        if ahead_s is not self._ahead_s:
            self._ahead_s = ahead_s
            near_s = np.minimum(ahead_s, LONGEST_AHEAD_S)
            moments = np.ceil(near_s / interval_s - 1e-6).astype(np.int64) + self._rates.length - 1
            longest = int(moments.max(initial=0))
            if longest >= self._made.length:
                self._made.resize(longest + 1)
            self._moments = longest if bool((moments == longest).all()) else moments

    def _step(self, at_s: float, interval_s: float, rates: Floats, floors: Floats, ahead_s: Floats) -> None:
        assert self._stretches is not None
        self._rates.push(at_s, rates)
        last = self._rates.last(self._rates.length)
        if last.shape[1] < self._rates.length:  # the first moments: what was before them is unknown
            last = np.concatenate([np.full((len(rates), self._rates.length - last.shape[1]), np.nan), last], axis=1)
        whole = not any_unknown(last.ravel())
        if not whole:
            effective, self.recent = self._stretches.effective(last), self._stretches.recent(last)
        else:
            effective, self.recent = self._stretches.both(last)
        self.reached = np.log(np.maximum(effective, floors))
        # By the clock, so that a service's turn does not depend on who else is there.
        number = round(at_s / interval_s)
        if number % JUDGED == 0:
            self._judge(interval_s, learn=number % LEARNT == 0)
        else:
            self.judged = None
        moment = self._moment(at_s, interval_s, rates, floors, self.reached, ahead_s, whole=whole)
        self._show(moment)
        self._forecast(interval_s, moment)
        low = rates <= floors
        self.quiet = low & (self.levels.means[:, MINUTE] <= floors) if some(low) else None

    def _moment(
        self, at_s: float, interval_s: float, rates: Floats, floors: Floats, reached: Floats, ahead_s: Floats, *, whole: bool
    ) -> Moment:
        known: Bools | None = None
        if any_unknown(rates):
            known = rates == rates
        self.known = known
        lifted = np.maximum(rates, floors)
        self.levels.take_rates(lifted, floors, interval_s, known)
        return _make_moment(
            at_s=at_s,
            interval_s=interval_s,
            rates=rates,
            known=known,
            logs=np.log(lifted),
            floors=floors,
            levels=self.levels.logs[:, MINUTE],
            reached=reached,
            whole=whole,
            ahead_s=ahead_s,
            window_s=self._window_s,
        )

    def _show(self, moment: Moment) -> None:
        for expert in self._experts:
            if expert is not self.levels:
                expert.observe(moment)

    def _judge(self, interval_s: float, *, learn: bool) -> None:
        """Compares what has come with what had been forecast for it."""
        made = self._made.ago(self._moments)  # its newest is of the moment before this one
        level, centre, spread = made[:, -3], made[:, -2], made[:, -1]
        error = self.reached - centre
        known: Bools | None = None
        if any_unknown(error):
            known = error == error
            if not some(known):
                self.judged = None
                return
        self.judged = error / spread
        if not learn:
            return
        features, told = made[:, : len(self.names) + 1], made[:, len(self.names) + 1 : -3]
        if known is not None:
            features, told = np.where(known[:, None], features, 0.0), np.where(known[:, None], told, 0.0)
        self.misses.learn(self.judged, LEARNT * interval_s, known)
        self.spreads.learn(told, error, spread, LEARNT * interval_s, known)
        self.mix.learn(features, self.reached - level, 1.0 - LEARNT * interval_s / MEMORY_S, known)

    def _forecast(self, interval_s: float, moment: Moment) -> None:
        level = moment.levels
        into = self._made.push()
        count = len(self.names)
        experts = into[:, :count]
        np.concatenate([expert.forecast() for expert in self._experts], 1, experts)
        experts -= beside(level)
        features = into[:, : count + 1]
        features[:, count] = _OFFSET
        silent = features != features
        if some(silent):
            np.copyto(features, 0.0, where=silent)  # who can't tell says as the level does
        told = into[:, count + 1 : -3]
        self.spreads.features(self.levels.logs, interval_s, told)
        self.centre = into[:, -2] = level + self._mixed(features)
        self.spread = into[:, -1] = self.spreads.scale(told)
        into[:, -3] = level

    def _mixed(self, features: Floats, row: int | None = None) -> Floats:
        """What the experts together say, as a difference to the level."""
        change = self.mix.predict(features, row)
        if self._level_is_told and every(abs(change) <= _BEYOND):
            return change  # not too far from the level itself, which is an expert's word: then not from all of them
        experts = features[:, :-1]
        change = np.minimum(change, np.maximum.reduce(experts, 1) + _BEYOND)
        return np.asarray(np.maximum(change, np.minimum.reduce(experts, 1) - _BEYOND))

    def tell_anew(self, row: int) -> None:
        """What the experts' words are worth is another thing now: forecasts that are still to be judged become those that it makes of them."""
        made, count = self._made.of(row), len(self.names)
        made[:, -2] = made[:, -3] + self._mixed(made[:, : count + 1], row)
        made[:, -1] = self.spreads.scale(made[:, count + 1 : -3], row)
        self.centre[row], self.spread[row] = self._made.ago(0)[row, -2:]

    def usual(self, at_s: float, until_s: Floats) -> Floats:
        """The highest rate (n,) of five minutes that yesterday had between at_s and until_s (n,); NaN where that is not known."""
        season = next((one for one in self._experts if isinstance(one, Season)), None)
        return np.full(len(until_s), np.nan) if season is None else season.usual(at_s, until_s)

    # ------------------------------------------------------------ for explanations

    def weights(self, row: int) -> dict[str, float]:
        """What each expert's difference to the last minute's level counts, by name."""
        return dict(zip([*self.names, "offset"], self.mix.weights[row].tolist(), strict=True))

    def parts(self, row: int, expected: float) -> Parts | None:
        """How a row's forecast, which expects so many requests/s, came from the last minute's level: the factors of the TOLD forecasters that
        move it most, each with its expert that does so most, and of all else together. Experts of one forecaster say nearly the same, so
        that only their sum tells something. None before the first known sample."""
        made = self._made.ago(0)[row].tolist()
        level, count = made[-3], len(self.names)
        if not expected > 0.0 or level != level:
            return None
        moves = iter(zip(self.names, (self.mix.weights[row, :count] * made[:count]).tolist(), strict=True))
        of_each = []
        for kind in self._kinds:
            own = [next(moves) for _ in kind.experts]
            strongest, _ = max(own, key=lambda one: abs(one[1]))
            of_each.append((f"{kind.name} (mostly {strongest})" if len(own) > 1 else kind.name, sum(moved for _, moved in own)))
        most = sorted(of_each, key=lambda one: -abs(one[1]))[:TOLD]
        rest = log(expected) - level - sum(moved for _, moved in most)
        return Parts(now=exp(level), factors={name: exp(moved) for name, moved in (*most, (REST, rest))})

    def silenced(self) -> dict[str, str]:
        """Forecasters that are left out since they failed, by name, and why."""
        return {one.name: one.fault for one in self._experts if isinstance(one, Guarded) and one.fault}

    # ------------------------------------------------------------ what survives

    def _parts(self) -> list[Any]:
        return [self.levels, *[one for one in self._experts if one is not self.levels], self.mix, self.spreads, self.misses]

    def rearrange(self, rows: Ints) -> None:
        for part in (*self._parts(), self._made):
            part.rearrange(rows)
        self._rates = self._rates.rearranged(rows)
        self._stretches = self._allowed_s = self._ahead_s = self.judged = self.quiet = None
        for name in _SAID:
            setattr(self, name, rearranged(getattr(self, name), rows))

    def adopt(self, other: Outlook, rows: Ints) -> None:
        if not self._interval_s and other._interval_s:
            self._interval_s, self._at_s = other._interval_s, other._at_s
            n = len(self.centre)
            self._rates, self._made = History(n, other._rates.length), Ring(n, other._made.length, self._made.width)
            self._stretches = self._allowed_s = self._ahead_s = None
        for mine, theirs in zip(self._parts(), other._parts(), strict=True):
            mine.adopt(theirs, rows)
        if self._interval_s == other._interval_s:
            self._rates.adopt(other._rates, rows)
            self._made.adopt(other._made, rows)
        taken = rows >= 0
        for name in _SAID:
            getattr(self, name)[taken] = getattr(other, name)[rows[taken]]

    def shift(self, by_s: float) -> None:
        """The clock was set by `by_s`."""
        self._at_s += by_s
        self._rates.shift(by_s)

    def save(self) -> dict[str, Any]:
        return {
            "interval_s": self._interval_s,
            "at_s": None if self._at_s != self._at_s else self._at_s,
            "experts": list(self.names),
            "parts": [part.save() for part in self._parts()],
            "samples": self._rates.length,
            "rates": self._rates.save(),
            "made": self._made.save(),
        }

    def load(self, state: Any) -> None:
        """Raises ValueError, KeyError or TypeError for a state that it can't use."""
        interval_s, at_s, parts = float(state["interval_s"]), state["at_s"], self._parts()
        if len(state["parts"]) != len(parts) or state.get("experts", self.names) != self.names:
            raise ValueError("not the same forecasters")
        for part, saved in zip(parts, state["parts"], strict=True):
            part.load(saved)
        self._rates = History(len(self.centre), int(state["samples"]))
        self._rates.load(state["rates"])
        self._made.load(state["made"])
        self._interval_s, self._at_s = interval_s, float("nan") if at_s is None else float(at_s)
        self._stretches = self._allowed_s = self._ahead_s = None
