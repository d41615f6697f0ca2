"""Own PromQL: one query for each distinct text and namespace, one number out of it.

What the answer means: exactly one series (or a scalar), finite and not negative, is the value. No series, NaN, an infinite or a negative
value, several series: unknown, each with its reason. The age is that of the newest sample of the selector that is worst off; where none
of the selectors sees a living series, the value is a default that the query made up (``… or vector(0)``) and is unknown: a service
must not look idle because its metrics went away.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from autoscaler.adapters.prometheus.answers import Data, Vector, labels_of
from autoscaler.adapters.prometheus.client import PrometheusClient
from autoscaler.adapters.prometheus.problems import QueryFailed
from autoscaler.adapters.prometheus.promql import PART_LABEL, VALUE_PART, ConfinedQuery


@dataclass(frozen=True, slots=True)
class OwnValue:
    """A value in the signal's unit with its age, or NaN and why it is unknown."""

    value: float
    age_s: float
    why: str


NOT_ASKED = OwnValue(math.nan, math.inf, "not asked yet")


async def read_own(client: PrometheusClient, query: ConfinedQuery, at_s: float, deadline_s: float) -> OwnValue:
    """The value of a query at `at_s`. Never raises for a fault outside."""
    try:
        data = await client.query(query.with_age(), at_s, deadline_s)
        return value_of(data, at_s, ages_expected=bool(query.live_selectors))
    except QueryFailed as error:
        return _unknown(str(error))


def value_of(data: Data, at_s: float, *, ages_expected: bool) -> OwnValue:
    """What the answer to ``ConfinedQuery.with_age`` says. Raises Unparsable."""
    if not isinstance(data, Vector):
        return _unknown(f"the server answers with a {type(data).__name__.lower()} where an instant vector is asked for")
    values: list[float] = []
    newest_s: list[float] = []
    for sample in data.result:
        number = _number(sample.value[1]) if sample.value is not None else math.nan
        part = labels_of(bytes(sample.metric)).get(PART_LABEL)
        if part == VALUE_PART:
            values.append(number)
        elif part is not None and math.isfinite(number):
            newest_s.append(number)
    if not values:
        return _unknown("the query gives no series")
    if len(values) > 1:
        return _unknown(f"the query gives {len(values)} series; it must give one, so aggregate it")
    value = values[0]
    if not math.isfinite(value) or value < 0:
        return _unknown(f"the query gives {value}, which is no possible value")
    if ages_expected and not newest_s:
        return _unknown("none of the series behind the query is there any more; what it gives is a default of its own")
    return OwnValue(value, max(at_s - min(newest_s), 0.0) if newest_s else 0.0, "")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _unknown(why: str) -> OwnValue:
    return OwnValue(math.nan, math.inf, why)
