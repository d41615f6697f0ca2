"""The answer to a request for values: an ExternalMetricValueList, or why there is none.

An HPA adds up the items of a list and looks at no timestamp. So a list is whole or an error: without an item that is not known, or with one
that is too old, its sum would be a number that nobody vouches for, and a smaller one scales down.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

import orjson

from autoscaler.external_metrics.answers import RefusedError
from autoscaler.external_metrics.catalogue import METRICS, close_to, metric_of
from autoscaler.external_metrics.discovery import KIND
from autoscaler.external_metrics.identity import GROUP_VERSION
from autoscaler.external_metrics.quantity import quantity_text
from autoscaler.external_metrics.selectors import Selector
from autoscaler.external_metrics.values import Value, Values
from autoscaler.published import FORECAST, NAME_LABEL, POLICY_LABEL, QUANTILE_LABEL

_TOLD: Final = 3
"""How many objects a message names at most."""
_WHERE_SIGNALS: Final = "signals are served where an object's spec.publish.signals names them"


def value_list(values: Values, namespace: str, metric: str, selector: Selector) -> bytes:
    """The JSON of the list. Raises RefusedError: 404 where there is nothing to answer with, 400 where the selector takes several forecasts of
    one object together, 503 where a value is not known, too old or no number."""
    known = metric_of(metric)
    if known is None:
        raise RefusedError(404, f"there is no metric '{metric[:80]}'; there are {', '.join(METRICS)}")
    found = values.find(namespace, known, selector.matches, selector.name)
    if not found:
        raise _nothing(values, namespace, known, selector)
    if known == FORECAST:
        _one_forecast_each(found)
    items = []
    faults = []
    for value in found:
        text, fault = _text_of(value)
        if fault:
            faults.append((value, fault))
        else:
            items.append(_item(value, text))
    if faults:
        raise _not_known(known, namespace, faults, len(found))
    return orjson.dumps({"kind": KIND, "apiVersion": GROUP_VERSION, "metadata": {}, "items": items})


def _text_of(value: Value) -> tuple[str, str]:
    """The value as a quantity and "", or "" and why it is none."""
    number = value.value
    if math.isnan(number):
        return "", value.why or "it is not known"
    if not value.age_s <= value.max_age_s:
        return "", f"the last value, {_shown(number)}, is {value.age_s:.0f} s old; at most {value.max_age_s:.0f} s are allowed"
    if number < 0:
        return "", f"the value {number} is below zero, which it can't be"
    try:
        return quantity_text(number), ""
    except ValueError as fault:
        return "", str(fault)


def _shown(number: float) -> str:
    try:
        return quantity_text(number)
    except ValueError:
        return str(number)


def _item(value: Value, quantity: str) -> dict[str, Any]:
    item: dict[str, Any] = {
        "metricName": value.metric,
        "metricLabels": value.labels if type(value.labels) is dict else dict(value.labels),
        "timestamp": _timestamp(int(value.at_s)),
        "value": quantity,
    }
    if value.window_s is not None:
        item["window"] = math.ceil(value.window_s)
    return item


@lru_cache(1024)
def _timestamp(at_s: int) -> str | None:
    """RFC 3339 in UTC, in whole seconds; null where there is none (apimachinery, pkg/apis/meta/v1/time.go)."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if at_s > 0 else None


def _one_forecast_each(found: Sequence[Value]) -> None:
    forecasts: dict[str, list[Value]] = {}
    for value in found:
        forecasts.setdefault(value.object, []).append(value)
    for name, several in forecasts.items():
        if len(several) > 1:
            # Of labels that they share none tells them apart: two policies of an object may forecast the same quantiles.
            telling = [label for label in (QUANTILE_LABEL, POLICY_LABEL) if len({one.labels.get(label) for one in several}) > 1]
            ways = " or ".join(",".join(f"{label}={one.labels.get(label, '')}" for label in telling) for one in several)
            raise RefusedError(
                400,
                f"labelSelector: it matches {len(several)} forecasts of {FORECAST} of {name}, which an HPA would add up; "
                f"add {ways} to it",
            )


def _nothing(values: Values, namespace: str, metric: str, selector: Selector) -> RefusedError:
    if not values.has_data():
        return RefusedError(503, f"{metric}: nothing was received from the controller yet")
    there = list(values.objects(namespace))
    if not there:
        return RefusedError(404, f"namespace '{namespace[:80]}' has no InferenceAutoscaler")
    name = selector.name
    if name is not None and name not in there:
        return RefusedError(404, f"there is no InferenceAutoscaler '{name}' in namespace '{namespace}'; {_others(name, there)}")
    having = sorted({value.object for value in values.find(namespace, metric, _anything, name)})
    if not having and name is None:
        return RefusedError(404, f"no InferenceAutoscaler in namespace '{namespace}' has {metric}; {_WHERE_SIGNALS}")
    if not having:
        return RefusedError(404, f"InferenceAutoscaler '{name}' in namespace '{namespace}' has no {metric}; {_WHERE_SIGNALS}")
    return RefusedError(
        404,
        f"no {metric} in namespace '{namespace}' has labels that match '{selector.text[:200]}'; "
        f"{NAME_LABEL} is one of {_listed(having)}",
    )


def _anything(_labels: object) -> bool:
    return True


def _others(name: str, there: list[str]) -> str:
    close = close_to(name, there)
    return f"there is {' and '.join(close)}" if close else f"there is {_listed(there)}"


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_TOLD]) + (f" and {len(names) - _TOLD} more" if len(names) > _TOLD else "")


def _not_known(metric: str, namespace: str, faults: Sequence[tuple[Value, str]], all_of_them: int) -> RefusedError:
    told = "; ".join(f"{metric} of {namespace}/{value.object}: {fault}" for value, fault in faults[:_TOLD])
    more = f"; {len(faults) - _TOLD} more are not known either" if len(faults) > _TOLD else ""
    whole = f" (of {all_of_them} that match; a list is whole or an error)" if all_of_them > 1 else ""
    return RefusedError(503, told + more + whole)
