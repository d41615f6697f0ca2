"""From a function for one service to a policy for all of them::

    from policies.each import Service, each

    def half_full(service: Service, fill: float) -> tuple[float, str]:
        busy = service.value("running") + service.value("queue")
        return busy / (service.slots * fill), f"{busy:g} in flight in {service.slots:g} slots taken to {fill:.0%}"

    POLICY = each(half_full, name="half-full", summary="keeps slots half full", signals=("running", "queue"),
                  parameters=(Parameter(name="fill", kind="float", default=0.5, description="share of the slots to take"),))

It calls the function once a service and tick, some microseconds each: fine for hundreds of services. A policy for thousands works
on whole arrays (``docs/policies.md`` shows both).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from autoscaler.core.model import Floats, Observation, Recommendation
from autoscaler.core.policy import Parameter, Params, PolicyType, Stateless
from autoscaler.core.seen import seen
from autoscaler.core.sizing import whole_replicas


@dataclass(frozen=True, slots=True)
class Service:
    """One service at one tick: row `row` of an observation, whose fields have the same names and units here."""

    observation: Observation
    row: int

    @property
    def at_s(self) -> float:
        return self.observation.at_s

    @property
    def interval_s(self) -> float:
        return self.observation.interval_s

    @property
    def current(self) -> int:
        return int(self.observation.current[self.row])

    @property
    def ready(self) -> int:
        return int(self.observation.ready[self.row])

    @property
    def starting(self) -> int:
        return int(self.observation.starting[self.row])

    @property
    def capacity_per_s(self) -> float:
        """Requests/s that one replica sustains; NaN where not known."""
        return float(self.observation.capacity_per_s[self.row])

    @property
    def slots(self) -> float:
        return float(self.observation.slots[self.row])

    @property
    def lead_time_s(self) -> float:
        return float(self.observation.lead_time_s[self.row])

    @property
    def objective_target(self) -> float:
        return float(self.observation.objective_target[self.row])

    @property
    def promised_ratio(self) -> float:
        return float(self.observation.promised_ratio[self.row])

    def value(self, signal: str) -> float:
        """A signal now: NaN where unknown, 0.0 where idle."""
        return float(seen(self.observation, signal)[self.row])

    def past(self, signal: str, seconds: float) -> Floats:
        """A signal's values of the last `seconds`, newest last, NaN where unknown; as far as the declared lookback reaches."""
        found = self.observation.signals.get(signal)
        if found is None:
            return np.empty(0)
        past: Floats = found.history.since(self.at_s - seconds)[self.row]
        return past


Answer: TypeAlias = float | tuple[float, str] | None
"""A count (a fraction is rounded up), or a count and the sentence for it; None or NaN: can't tell."""


class Each(Stateless):
    """Asks `function(service, **params)` row by row."""

    def __init__(self, function: Callable[..., Answer], needs: Sequence[str], params: Params) -> None:
        super().__init__(params)
        self._function = function
        self._needs = needs

    def recommend(self, observation: Observation) -> Recommendation:
        n = len(observation)
        replicas, words = np.full(n, np.nan), [""] * n
        for row in range(n):
            params = {
                name: values[row].item() if hasattr(values[row], "item") else values[row] for name, values in self.params.items()
            }
            service = Service(observation, row)
            unknown = [name for name in self._needs if np.isnan(service.value(name))]
            if unknown:
                words[row] = f"{', '.join(unknown)} unknown: no count"
                continue
            try:
                replicas[row], words[row] = _answer(self._function(service, **params))
            except Exception as error:  # one service's fault must not blind the others
                words[row] = f"failed: {type(error).__name__}: {error}"
        return Recommendation(replicas=replicas, why=words.__getitem__)


def _answer(answer: Answer) -> tuple[float, str]:
    count, words = answer if isinstance(answer, tuple) else (answer, "")
    if count is None or count != count:
        return float("nan"), words or "can't tell"
    whole = float(whole_replicas(float(count)))
    return whole, words or f"asks for {whole:.0f}"


def each(
    function: Callable[..., Answer],
    *,
    name: str,
    summary: str,
    signals: Sequence[str] = (),
    parameters: Sequence[Parameter] = (),
    optional_signals: Sequence[str] = (),
    lookback_s: float = 0.0,
    counts_starting: bool = False,
    source: str = "",
) -> PolicyType:
    """The policy type of a function for one service: ``function(service, **parameters)``.

    signals: those it needs; where one is unknown the answer is "can't tell" and the function is not asked. The rest as in PolicyType.
    The function must only read; a policy that learns has to be a class."""
    needs = tuple(signals)
    return PolicyType(
        name=name,
        summary=summary,
        parameters=tuple(parameters),
        make=lambda params, _rng: Each(function, needs, params),
        signals=lambda _params: needs,
        optional_signals=tuple(optional_signals),
        lookback_s=lookback_s,
        counts_starting=counts_starting,
        source=source,
    )
