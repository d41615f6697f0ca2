"""``predictive``: as many replicas as the demand will need when a replica ordered now begins to serve.

What is needed then is foretold by all experts together (``forecasters.outlook``) as a centre and a spread, and provided for up to the
quantile that the promise can bear: a promise of 99.5 % bears a forecast that is too low in a good half of a per cent of the minutes. How good
the half is follows from what has really been late (``predictive_allowance``). On top come the replicas that a backlog needs. A count goes
up at once, and down only when what is there is more than a somewhat higher quantile needs: a replica that will probably be wanted
again before a new one could be ready is cheaper to keep. Nothing has to be set, and nothing is set per service.

What no forecast can know is met by what is: never fewer replicas than the samples of the last minute need. While the forecast is out
of favour (``predictive_grace``), or where demand is unknown but what runs is not, the policy ``reactive`` speaks in its place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from autoscaler.core.constant import constant
from autoscaler.core.kept import Kept
from autoscaler.core.model import Bools, Floats, Forecast, Ints, Observation, ParamValue, Recommendation
from autoscaler.core.policy import Parameter, Params, PolicyType, Saved, complete_params, stack_params
from autoscaler.core.rows import beside, chosen, every, some
from autoscaler.core.seen import seen
from autoscaler.core.sizing import whole_replicas
from autoscaler.core.value import maker
from policies.forecasters.installed import forecasters
from policies.forecasters.outlook import JUDGED, LONGEST_STEP_S, Outlook
from policies.predictive_allowance import Allowance
from policies.predictive_backlog import coming, most_kept
from policies.predictive_belief import FURTHEST, Belief
from policies.predictive_grace import CLAIM, Grace
from policies.predictive_memory import of_outlook, put_back, text_of
from policies.predictive_quantiles import QUANTILES, Quantiles
from policies.predictive_recent import Recent
from policies.predictive_room import Room
from policies.predictive_terms import Terms
from policies.predictive_words import Need, by_reactive_words, forecast_words
from policies.reactive import POLICY as REACTIVE
from policies.reactive import Reactive

WINDOW_S: Final = 60.0
"""The window whose effective demand is forecast."""
RECENT: Final = 0.95
"""The share of what the latest samples needed that is provided for, whatever the forecast says."""
REACTIVE_EVERY: Final = 4
"""Every so many samples `reactive` learns how bursty demand is: it only speaks now and then."""
REFRESH_S: Final = 300.0
"""How often the quantiles of the misses are looked up anew: they move over days."""
SURPRISE: Final = 1.5
"""How much further above the forecast than promised a window must be, for what is to speak instead of what was foretold."""
BLIND_S: Final = 90.0
"""A forecast made of demand that has been unknown for longer is none."""
SETTLE_S: Final = WINDOW_S
"""Where the past can't be known, one window of samples must have been seen before anything goes: the first forecast is made of it."""
WAKE_AHEAD_S: Final = 300.0
"""A service that sleeps is woken so long before the lead time ends in what yesterday's first requests needed."""
REMEMBERED_AFTER: Final = 240
"""So many forecasts must have taught something (at ticks of 15 s within four hours) to be worth more than the hour that a restart is shown."""
KEPT_BLIND: Final = 1.2
"""While `reactive` speaks, a replica stays until there are a fifth more than it asks for."""
_VERSION: Final = 2
_AND_ROOM: Final = "."
"""Between what is remembered of a service on a pool: of its replicas' forecast, and of its nodes'."""

# As every tick takes them.
_RECENT: Final = constant(RECENT)
_SURPRISE: Final = constant(SURPRISE)
_ZERO: Final = constant(0.0)
_make_need = maker(Need)
_make_forecast = maker(Forecast)
_make_recommendation = maker(Recommendation)


class Predictive:
    """The policy object for n services."""

    def __init__(self, params: Params) -> None:
        n = len(params["miss"])
        self._outlook = Outlook(n, forecasters(), WINDOW_S)
        self._allowance = Allowance(n)
        self._recent = Recent(n)
        self._grace = Grace(n)
        self._belief = Belief()
        self._room = Room(WINDOW_S)
        self._answered: Observation | None = None
        self._need: Need | None = None
        self._ahead_s: Floats | None = None
        self._lead_s: Floats = np.empty(0)
        self._interval_s = 0.0
        self._quantiles = Quantiles(n)
        self._age_s: Floats = np.empty(0)
        self._looked_up = -1
        self._take(params)
        self._reactive = Reactive(_of_reactive(params))

    def _take(self, params: Params) -> None:
        self.params = params
        self._terms = Terms(params)

    # ------------------------------------------------------------ learning

    def observe(self, observation: Observation) -> None:
        interval_s = observation.interval_s
        rates = seen(observation, "demand")
        terms, outlook = self._terms, self._outlook
        terms.follow(observation)
        ahead_s = self._ahead(observation)
        outlook.observe(observation.at_s, interval_s, rates, terms.floors, ahead_s, terms.allowed_s)
        self._room.observe(observation, rates, terms.floors, ahead_s, terms.allowed_s)
        if interval_s > LONGEST_STEP_S:
            return
        if round(observation.at_s / interval_s) % REACTIVE_EVERY == 0:
            self._reactive.learn(observation)
        queue = seen(observation, "queue")
        waits_s = queue / terms.served_per_s
        self._allowance.learn(rates, waits_s, terms.allowed_s, terms.late_ratio, self.params["aim"], interval_s)
        self._recent.learn(outlook.known, queue * terms.drains, outlook.reached, interval_s)
        self._look_up(observation)
        judged = outlook.judged
        if judged is not None:
            self._recent.surprised = judged > _SURPRISE * self._quantiles.promised
            self._grace.judge(judged, self._quantiles.watched, JUDGED * interval_s)
        if self._room:
            self._belief.follow(outlook.spreads.seen, interval_s)
            highest = self._belief.highest_log(self._recent.peak, self._room.middle(len(observation)))
            margin = self._quantiles.promised * outlook.spread
            self._room.foretell(margin, self.params["room"], highest, self._recent.peak + FURTHEST)
        self._answered, self._need = observation, self._needed(observation, queue)

    def _ahead(self, observation: Observation) -> Floats:
        """From the end of the latest sample to the moment when a replica that is ordered now serves, (n,)."""
        signal = observation.signals.get("demand")
        age_s = np.zeros(len(observation)) if signal is None else signal.age_s
        lead_s, interval_s = observation.lead_time_s, observation.interval_s
        if self._ahead_s is None or lead_s is not self._lead_s or interval_s != self._interval_s or not _same(self._age_s, age_s):
            self._lead_s, self._interval_s, self._age_s = lead_s, interval_s, age_s
            self._ahead_s = lead_s + np.where(age_s < 4.0 * interval_s, age_s, interval_s)
        return self._ahead_s

    def _look_up(self, observation: Observation) -> None:
        """Every five minutes by the clock, and for new services at once."""
        number = int(observation.at_s // REFRESH_S)
        rows = None
        if number == self._looked_up:
            if not self._quantiles.any_missing:
                return
            rows = np.isnan(self._quantiles.promised)
        self._looked_up = number
        share = self._terms.miss * self._terms.late_ratio * np.exp(-self._allowance.care)
        self._quantiles.look_up(self._outlook.misses, np.minimum(share, 0.5), rows)

    # ------------------------------------------------------------ recommending

    def recommend(self, observation: Observation) -> Recommendation:
        need = self._need
        if need is None or self._answered is not observation:
            self._terms.follow(observation)
            self._look_up(observation)
            need = self._needed(observation, seen(observation, "queue"))
        return _make_recommendation(
            replicas=need.replicas,
            headroom=need.headroom,
            forecast=self._forecast(observation),
            why=lambda row: self._words(observation, row, need),
        )

    def _needed(self, observation: Observation, queue: Floats) -> Need:
        outlook, belief, own = self._outlook, self._belief, observation.capacity_per_s
        centre, spread = outlook.centre, outlook.spread
        belief.follow(outlook.spreads.seen, observation.interval_s)
        promised_log = centre + self._quantiles.promised * spread
        highest = belief.highest_log(self._recent.peak, centre)
        rate = np.exp(np.minimum(promised_log, highest))
        if self._recent.any_blind:
            rate = np.where(self._recent.blind_s > BLIND_S, np.nan, rate)
        recent = _RECENT * outlook.recent
        drains = self._terms.drains / belief.drain_share
        backlog = queue * drains
        ready_later = np.exp(centre + self.params["room"] * spread) / own
        joining = coming(observation, queue, self._terms.bearable, outlook.recent, drains, room=ready_later, begun=belief.begun)
        provided = rate / own
        needed = chosen(recent > rate, recent, rate)
        least = (provided if needed is rate else needed / own) + backlog + joining
        if some(self._recent.surprised):
            # What no forecast knew of: the present speaks at once.
            present = self._reactive.needed(observation) + joining
            least = np.where(self._recent.surprised & (present > least), present, least)
        kept = np.exp(np.minimum(promised_log + self.params["keep"] * spread, highest)) / own
        most = most_kept(kept, np.exp(centre) / own, provided, self._recent.lasting)
        least, most = whole_replicas(least), whole_replicas(np.maximum(most, least))
        quiet = outlook.quiet
        if quiet is not None:
            # Nothing comes, and nothing is about to: then nothing is needed. Whether it may go to zero is the manifest's to say.
            asleep = quiet & (backlog == 0) & ~self._wakes(observation)
            least, most = np.where(asleep, 0.0, least), np.where(asleep, 0.0, most)
        replicas = np.minimum(np.maximum(observation.current, least), most)
        by_reactive = self._by_reactive(observation, replicas)
        if by_reactive is not None:
            spoken = whole_replicas(self._reactive.needed(observation) + joining)
            held = np.minimum(np.maximum(observation.current, spoken), whole_replicas(spoken * KEPT_BLIND))
            replicas = np.where(by_reactive, held, replicas)
        nodes_later = self._room.replicas(ready_later, own)
        headroom = np.fmax(np.ceil(nodes_later) - replicas, _ZERO)  # none where it can't tell
        return _make_need(
            rate=rate,
            recent=recent,
            backlog=backlog,
            coming=joining,
            least=least,
            most=most,
            replicas=replicas,
            headroom=headroom,
            by_reactive=by_reactive,
        )

    def _wakes(self, observation: Observation) -> Bools:
        """Rows (n,) in which yesterday something came within the time that a replica takes to start, and a little more."""
        until_s = observation.at_s + observation.lead_time_s + WAKE_AHEAD_S
        return np.asarray(self._outlook.usual(observation.at_s, until_s) > self._terms.floors)

    def _by_reactive(self, observation: Observation, replicas: Floats) -> Bools | None:
        """Rows (n,) for which `reactive` speaks; None: none of them."""
        found = self._grace.fallen
        unknown: Bools = replicas != replicas
        if some(unknown):
            return unknown if found is None else unknown | found
        return found

    def _forecast(self, observation: Observation) -> Forecast:
        outlook, missed, begun = self._outlook, self._grace.missed, self._belief.begun
        values = np.exp(beside(outlook.centre) + self._quantiles.shown * beside(outlook.spread))
        return _make_forecast(
            made_at_s=observation.at_s,
            times_s=(observation.at_s + observation.lead_time_s)[:, None],
            quantiles=QUANTILES,
            values=values[:, :, None],
            unit="requests/s",
            window_s=WINDOW_S,
            trusted=~self._grace.out,
            missed_ratio=missed if every(begun) else np.where(begun, missed, np.nan),
            claimed_ratio=CLAIM,
            parts=lambda row: outlook.parts(row, float(values[row, 0])),
        )

    def _words(self, observation: Observation, row: int, need: Need) -> str:
        if need.by_reactive is not None and need.by_reactive[row]:
            missed = None if need.rate[row] != need.rate[row] else float(self._grace.missed[row])
            return by_reactive_words(need, row, missed, self._reactive.recommend(observation).why(row))
        share = self._terms.miss[row] * (1.0 - observation.promised_ratio[row]) * np.exp(-self._allowance.care[row])
        return forecast_words(
            need,
            row,
            own=float(observation.capacity_per_s[row]),
            lead_s=float(observation.lead_time_s[row]),
            middle=float(np.exp(self._outlook.centre[row] + self._quantiles.shown[row, 0] * self._outlook.spread[row])),
            foretold=float(np.exp(self._outlook.centre[row] + self._quantiles.promised[row] * self._outlook.spread[row])),
            share=float(share),
            promised=float(observation.promised_ratio[row]),
            care=float(self._allowance.care[row]),
            allowed_s=float(self._terms.allowed_s[row]),
            drain_s=float((self._terms.drain_s * self._belief.drain_share)[row]),
            surprised=bool(self._recent.surprised[row]),
            silenced=self._outlook.silenced(),
        )

    # ------------------------------------------------------------ what survives

    def _parts(self) -> list[Any]:
        return [self._outlook, self._allowance, self._recent, self._grace, self._quantiles]

    def rearrange(self, rows: Ints, params: Params) -> None:
        for part in self._parts():
            part.rearrange(rows)
        self._room.rearrange(rows)
        self._reactive.rearrange(rows, _of_reactive(params))
        self._take(params)
        self._forget()

    def adopt(self, other: Predictive, rows: Ints) -> None:
        for mine, theirs in zip(self._parts(), other._parts(), strict=True):
            mine.adopt(theirs, rows)
        self._room.adopt(other._room, rows)
        self._reactive.adopt(other._reactive, rows)
        self._forget()

    def _forget(self) -> None:
        """What was worked out for rows that have changed."""
        self._answered = self._need = self._ahead_s = None
        self._belief.forget()

    def remember(self, row: int) -> str:
        """See ``predictive_memory``. "" of a service that has shown less than a restart is shown anyway."""
        if self._outlook.spreads.seen[row] < REMEMBERED_AFTER:
            return ""
        text, further = text_of(self._remembered(), row, self._outlook.names), self._room.remember(row, REMEMBERED_AFTER)
        return f"{text}{_AND_ROOM}{further}" if text and further else text

    def recall(self, row: int, text: str) -> None:
        text, _, further = text.partition(_AND_ROOM)
        if not put_back(self._remembered(), row, self._outlook.names, text):
            return
        if further:
            self._room.recall(row, further, len(self.params["room"]))
        self._outlook.tell_anew(row)
        self._quantiles.forget(row)
        self._forget()

    def _remembered(self) -> list[tuple[Kept, str]]:
        return [
            *of_outlook(self._outlook),
            (self._outlook.misses, "counts"),
            (self._allowance, "care"),
            (self._allowance, "typical"),
            (self._grace, "missed"),
            (self._grace, "out"),
        ]

    def shift(self, by_s: float) -> None:
        self._outlook.shift(by_s)
        self._room.shift(by_s)
        self._reactive.shift(by_s)
        self._looked_up += round(by_s / REFRESH_S)

    def save(self) -> Saved:
        return {
            "version": _VERSION,
            "services": len(self.params["miss"]),
            "parts": [part.save() for part in self._parts()],
            "reactive": self._reactive.save(),
            "looked_up": self._looked_up,
            **({"room": self._room.save()} if self._room else {}),
        }

    def load(self, state: Saved) -> None:
        if state.get("version") != _VERSION or state["services"] != len(self.params["miss"]):
            return
        for part, saved in zip(self._parts(), state["parts"], strict=True):
            part.load(saved)
        self._reactive.load(state["reactive"])
        if "room" in state:  # states written before there was one, or of services without pools, have none
            self._room.load(state["room"])
        self._looked_up = int(state["looked_up"])
        self._forget()


def _same(one: Floats, other: Floats) -> bool:
    return one is other or bool((one == other).all())


def _of_reactive(params: Params) -> Params:
    """What `reactive` is given where it speaks: its own defaults, and our wait."""
    n = len(params["miss"])
    defaults = stack_params(REACTIVE, [complete_params(REACTIVE, {})[0]] * n)
    return {**defaults, "wait_s": params["wait_s"]}


def _signals(_params: Mapping[str, ParamValue]) -> Sequence[str]:
    return ("demand", "queue")


POLICY = PolicyType(
    name="predictive",
    summary="what demand will need when a replica ordered now is ready, as surely as the promise asks",
    parameters=(
        Parameter(
            name="miss",
            kind="float",
            default=1.05,
            description="how many minutes a forecast may be too low for each request that the promise allows to be late",
            unit="ratio",
            minimum=0.01,
            maximum=100,
            tunable=True,
            search=(0.2, 5),
            log_scale=True,
        ),
        Parameter(
            name="keep",
            kind="float",
            default=0.52,
            description="a replica stays while demand this many spreads above the forecast would need it",
            unit="spreads",
            minimum=0,
            maximum=5,
            tunable=True,
            search=(0, 2),
        ),
        Parameter(
            name="drain_s",
            kind="float",
            default=50.0,
            description="a backlog is worked off within this time",
            unit="s",
            minimum=1,
            maximum=3600,
            tunable=True,
            search=(15, 300),
            log_scale=True,
        ),
        Parameter(
            name="aim",
            kind="float",
            default=0.9,
            description="the share of the late requests that the promise allows which is aimed at",
            unit="ratio",
            minimum=0,
            maximum=1,
            tunable=True,
            search=(0.5, 1),
        ),
        Parameter(
            name="room",
            kind="float",
            default=2.0,
            description="nodes are kept for demand this many spreads above what is as likely as not",
            unit="spreads",
            minimum=0,
            maximum=10,
            tunable=True,
            search=(0, 4),
        ),
        Parameter(
            name="wait_s",
            kind="float",
            default=0.0,
            description="the wait that is allowed; 0: the objective's target (give it where the objective isn't a wait)",
            unit="s",
            minimum=0,
            maximum=3600,
        ),
    ),
    make=lambda params, _rng: Predictive(params),
    signals=_signals,
    optional_signals=("running",),
    lookback_s=3600.0,
    backfill_s=8 * 86_400.0,
    settle_s=SETTLE_S,
    counts_starting=True,
    source="effective demand (core.envelope) forecast by recursive least squares over experts, with conformal quantiles; docs/policies.md",
)
