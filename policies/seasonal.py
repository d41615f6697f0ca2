"""``seasonal``: the demand that this time of the day and week usually brings, as a floor under another policy.

It keeps a mean demand for every five minutes of the week, learnt while it runs, and asks for what the coming lead time usually needs,
times `share`. It can't see today: a quiet holiday, an outage elsewhere, a launch. So it only ever raises a count, stands beside a
policy that looks at the present (``alone=False``), and knows nothing ("can't tell") of hours it has not lived through.

Time is the local wall clock of `timezone`. On the day a clock is set forward the hour that isn't there is neither used nor learnt; on
the day it is set back the repeated hour is learnt twice and used twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from autoscaler.core.columns import rearranged
from autoscaler.core.kept import from_text, to_text
from autoscaler.core.model import Floats, Ints, Observation, ParamValue, Recommendation
from autoscaler.core.policy import Parameter, Params, PolicyType, Saved
from autoscaler.core.seen import seen
from autoscaler.core.sizing import whole_replicas

BIN_S: Final = 300
BINS_A_DAY: Final = 86_400 // BIN_S
BINS: Final = 7 * BINS_A_DAY
_MONDAY_S: Final = 4 * 86_400  # Unix time began on a Thursday; four days later it was Monday
KNOWN_SHARE: Final = 0.5
"""A bin of which less than this was seen teaches nothing: half a bin's worth of samples is a different hour's mean."""
LONGEST_LOOK_S: Final = 3600.0
STORED: Final = 1.0 - 1e-6
"""Profiles keep seven digits (float32), so a count this share above a whole number is noise."""

Profile = npt.NDArray[np.float32]
_STORED: Final = np.dtype(np.float32)


class Seasonal:
    """Learnt a row: _week (n, BINS) mean demand by five minutes of the week, Monday first, NaN where never seen; _day (n, BINS_A_DAY)
    the same over all days. The bin that is going on is summed in _total, _samples (n,) until it ends."""

    def __init__(self, params: Params) -> None:
        n = len(params["share"])
        self._week: Profile = np.full((n, BINS), np.nan, dtype=np.float32)
        self._day: Profile = np.full((n, BINS_A_DAY), np.nan, dtype=np.float32)
        self._total: Floats = np.zeros(n)
        self._samples: Floats = np.zeros(n)
        self._bin = -1  # number of the going bin since the Unix epoch, −1 before the first tick
        self._step_s = 0.0
        self._place: Ints = np.zeros(n, dtype=np.int64)
        self._usual: Floats = np.full(n, np.nan)
        self._taken_over: npt.NDArray[np.bool_] | None = None
        """Rows that know another past since the bin began: what is usual of them has to be looked up again."""
        self._take(params)

    def _take(self, params: Params) -> None:
        self.params = params
        self._share: Floats = params["share"] * STORED
        names: list[str] = params["timezone"].tolist()
        self._zones = [(ZoneInfo(name), np.flatnonzero(params["timezone"] == name)) for name in sorted(set(names))]
        self._weekly: Any = params["profile"] != "day"
        self._daily: Any = params["profile"] != "week"

    # ------------------------------------------------------------ learning

    def observe(self, observation: Observation) -> None:
        number = int(observation.at_s // BIN_S)
        if number != self._bin:
            self._commit()
            self._bin = number
            self._place = self._places(number)
            self._usual = self._ahead(observation)
        elif self._taken_over is not None:
            self._usual = np.where(self._taken_over, self._ahead(observation), self._usual)
        self._taken_over = None
        demand = seen(observation, "demand")
        known = demand == demand
        self._total += np.where(known, demand, 0.0)
        self._samples += known
        self._step_s = observation.interval_s

    def _commit(self) -> None:
        """Lets the bin that has ended into the profiles, where enough of it was seen."""
        enough = np.flatnonzero((self._samples > 0) & (self._samples * self._step_s >= KNOWN_SHARE * BIN_S))
        if len(enough):
            mean = (self._total[enough] / self._samples[enough]).astype(np.float32)
            fresh = self.params["learning"][enough].astype(np.float32)
            place = self._place[enough]
            _learn(self._week, enough, place, mean, fresh)
            _learn(self._day, enough, place % BINS_A_DAY, mean, fresh)
        self._total[:] = 0.0
        self._samples[:] = 0.0

    def _places(self, number: int) -> Ints:
        """Each row's bin of the local week for bin `number` of Unix time. Offsets of time zones are whole multiples of five minutes."""
        places = np.empty(len(self._week), dtype=np.int64)
        now = datetime.fromtimestamp(number * BIN_S, UTC)
        for zone, rows in self._zones:
            offset = now.astimezone(zone).utcoffset()
            local_s = number * BIN_S - _MONDAY_S + (0 if offset is None else int(offset.total_seconds()))
            places[rows] = local_s // BIN_S % BINS
        return places

    def _ahead(self, observation: Observation) -> Floats:
        """The highest usual demand from now until a replica ordered at the end of this bin is ready, (n,); NaN where none is known."""
        look_s = np.minimum(observation.lead_time_s, LONGEST_LOOK_S)
        bins = np.ceil(look_s / BIN_S).astype(np.int64) + 1
        rows = np.arange(len(bins))
        usual = np.full(len(bins), np.nan)
        for ahead in range(int(bins.max(initial=0))):
            place = (self._place + ahead) % BINS
            week = np.where(self._weekly, self._week[rows, place], np.nan)
            day = np.where(self._daily, self._day[rows, place % BINS_A_DAY], np.nan)
            usual = np.where(ahead < bins, np.fmax(usual, np.fmin(week, day)), usual)
        return usual

    # ------------------------------------------------------------ recommending

    def recommend(self, observation: Observation) -> Recommendation:
        exact = self._usual * self._share / observation.capacity_per_s
        replicas: Floats = whole_replicas(exact)

        def why(row: int) -> str:
            usual, share = float(self._usual[row]), float(self.params["share"][row])
            if usual != usual:
                return "this time of the week has not been seen yet: no floor"
            own = float(observation.capacity_per_s[row])
            if own != own:
                return f"usually {usual:.3g}/s at this time, but a replica's capacity is unknown: no floor"
            return f"usually {usual:.3g}/s come at this time; {share:.0%} of it at {own:.3g}/s a replica: at least {replicas[row]:.0f}"

        return Recommendation(replicas=replicas, why=why)

    # ------------------------------------------------------------ what survives

    def rearrange(self, rows: Ints, params: Params) -> None:
        new = rows < 0
        self._week, self._day = self._week[rows], self._day[rows]
        self._total, self._samples, self._usual = self._total[rows], self._samples[rows], self._usual[rows]
        self._week[new], self._day[new] = np.nan, np.nan
        self._total[new], self._samples[new], self._usual[new] = 0.0, 0.0, np.nan
        self._taken_over = None if self._taken_over is None else rearranged(self._taken_over, rows, False)
        self._take(params)
        self._place = self._places(self._bin)

    def adopt(self, other: Seasonal, rows: Ints) -> None:
        taken = np.flatnonzero(rows >= 0)
        theirs = rows[taken]
        if self._bin < 0:  # nothing was seen yet: the going bin is the other's
            self._bin, self._step_s = other._bin, other._step_s
            self._place = self._places(self._bin)
        if other._bin != self._bin:
            other._commit()  # its last bin has ended meanwhile
        else:
            self._total[taken], self._samples[taken] = other._total[theirs], other._samples[theirs]
        self._week[taken], self._day[taken] = other._week[theirs], other._day[theirs]
        if self._taken_over is None:
            self._taken_over = np.zeros(len(rows), dtype=np.bool_)
        self._taken_over[taken] = True

    def save(self) -> Saved:
        return {
            "version": 1,
            "bin": self._bin,
            "step_s": self._step_s,
            "week": to_text(self._week),
            "day": to_text(self._day),
            "total": self._total.tolist(),
            "samples": self._samples.tolist(),
            "usual": to_text(self._usual.astype(np.float32)),
        }

    def load(self, state: Saved) -> None:
        n = len(self._week)
        if state.get("version") != 1 or len(state["total"]) != n:
            return
        self._bin, self._step_s = int(state["bin"]), float(state["step_s"])
        self._week = from_text(state["week"], _STORED, (n, BINS))
        self._day = from_text(state["day"], _STORED, (n, BINS_A_DAY))
        self._total = np.array(state["total"], dtype=np.float64)
        self._samples = np.array(state["samples"], dtype=np.float64)
        self._usual = from_text(state["usual"], _STORED, (n,)).astype(np.float64)
        self._place = self._places(self._bin)


def _learn(profile: Profile, rows: Ints, places: Ints, mean: Profile, fresh: Profile) -> None:
    """Moves the bins towards what was seen by the share `fresh`; a bin seen for the first time takes it whole."""
    old = profile[rows, places]
    profile[rows, places] = np.where(np.isnan(old), mean, old + fresh * (mean - old))


def _check(params: Mapping[str, ParamValue]) -> Sequence[str]:
    name = str(params["timezone"])
    try:
        ZoneInfo(name)
    except (OSError, ValueError, KeyError):  # not found is a KeyError, a bad name the others
        return [f"timezone: '{name}' is no IANA time zone; such as UTC or Europe/Berlin"]
    return []


POLICY = PolicyType(
    name="seasonal",
    summary="what this time of the day and week usually needs, as a floor under another policy",
    parameters=(
        Parameter(
            name="share",
            kind="float",
            default=0.8,
            description="share of the usual demand that the floor serves",
            unit="ratio",
            minimum=0,
            maximum=2,
            tunable=True,
            search=(0, 1.2),
        ),
        Parameter(
            name="learning",
            kind="float",
            default=0.3,
            description="how far a new day or week moves what is usual; 1 is the last one only",
            unit="ratio",
            minimum=0.01,
            maximum=1,
            tunable=True,
            search=(0.05, 1),
        ),
        Parameter(
            name="profile",
            kind="str",
            default="lower",
            description="usual for this hour of this weekday (week), of any day (day), or the lower of the two where both are known",
            choices=("lower", "day", "week"),
        ),
        Parameter(name="timezone", kind="str", default="UTC", description="whose wall clock the days follow: an IANA time zone"),
    ),
    make=lambda params, _rng: Seasonal(params),
    optional_signals=("demand",),
    backfill_s=14 * 86_400.0,
    counts_starting=True,
    alone=False,
    check=_check,
    source="seasonal mean profile (Hyndman & Athanasopoulos, Forecasting: Principles and Practice, §3.1 and 5.2), exponentially forgotten",
)
