"""Pieces of PromQL that presets are made of: each gives one number for each pod, for all pods of a cluster in one query.

A gateway's series belong to a service instead: two other labels, or a text in one label, say its namespace and name (``SeriesLabels``).

The number of queries must not grow with the number of services, so everything is ``by (namespace, pod)`` and it is our code that adds
the pods of a service up. Three rules are the same in every piece:

- *Scraped twice is not twice as much.* Two scrape jobs (or two Prometheus of a pair) that see the same pod give series that differ only
  in labels the scrape itself put on. ``max without (<those labels>)`` makes them one before anything is added up; ``instance`` is kept,
  since a pod may well serve on two ports.
- *A pod's own sub-labels are added up* (engine, model_name, version, finished_reason, …).
- *Renamed metrics count once.* Where a metric had another name, the newer name wins for each pod (``new or on (namespace, pod) old``), so a
  fleet in the middle of an upgrade is read rightly, and a server that exports both is not counted twice. Why not
  ``{__name__=~"new|old"}``: ``rate()`` and ``timestamp()`` drop the name, and Prometheus refuses the query where both exist.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final, Literal, Protocol

from autoscaler.adapters.prometheus.promql_text import quoted

SCRAPE_LABELS: Final = ("job", "service", "endpoint", "container", "prometheus", "prometheus_replica")


@dataclass(frozen=True, slots=True, kw_only=True)
class Within:
    """Namespace and name inside the text of one label. pattern: a regular expression (RE2, whole text, no groups of its own) with ``<namespace>``
    and ``<name>`` where those stand."""

    label: str
    pattern: str

    def matcher(self, namespaces: tuple[str, ...] | None) -> str:
        return f"{self.label}=~{quoted(self._filled(_either(namespaces) if namespaces is not None else _PART, _PART))}"

    def taken_out(self, series: str, labels: SeriesLabels) -> str:
        """The series with both as labels of their own."""
        for label, pattern in (
            (labels.namespace, self._filled(f"({_PART})", _PART)),
            (labels.pod, self._filled(_PART, f"({_PART})")),
        ):
            series = f'label_replace({series}, {quoted(label)}, "$1", {quoted(self.label)}, {quoted(pattern)})'
        return series

    def _filled(self, namespace: str, name: str) -> str:
        return self.pattern.replace("<namespace>", namespace).replace("<name>", name)


_PART: Final = "[^/]+"


def _either(namespaces: tuple[str, ...]) -> str:
    return f"(?:{'|'.join(re.escape(namespace) for namespace in namespaces)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesLabels:
    """What labels are called in a server. namespace, pod: whose a series is; of a gateway's series `pod` is the service's name there.
    scrape: labels put on by scraping, by which duplicates differ. within: where both lie in one label, which is to be taken apart."""

    namespace: str = "namespace"
    pod: str = "pod"
    scrape: tuple[str, ...] = SCRAPE_LABELS
    within: Within | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What a query covers. window_s: of rates. namespaces: only these (None: all)."""

    window_s: float
    labels: SeriesLabels
    namespaces: tuple[str, ...] | None = None

    @property
    def window(self) -> str:
        return f"{round(self.window_s * 1000)}ms"

    @property
    def by(self) -> str:
        return f"{self.labels.namespace}, {self.labels.pod}"

    def selector(self, metric: str, where: str = "") -> str:
        """Series of `metric` that belong to a pod (or service), with further matchers `where`."""
        labels = self.labels
        matchers = [f"__name__={quoted(metric)}"]
        if where:
            matchers.append(where)
        if labels.within is not None:
            matchers.append(labels.within.matcher(self.namespaces))
        else:
            matchers.insert(1, f'{labels.pod}!=""')
            if self.namespaces is not None:
                matchers.append(f"{labels.namespace}=~{quoted('|'.join(re.escape(namespace) for namespace in self.namespaces))}")
        return "{" + ",".join(matchers) + "}"

    def named(self, series: str) -> str:
        """The series with the labels that say whose they are."""
        return series if self.labels.within is None else self.labels.within.taken_out(series, self.labels)

    def per_pod(self, series: str, across: str = "sum", extra: str = "") -> str:
        """One number for each pod: duplicates made one, then `across` the pod's own sub-labels."""
        own = (self.labels.namespace, self.labels.pod)
        without = ", ".join(label for label in self.labels.scrape if label not in own)
        by = f"{self.by}, {extra}" if extra else self.by
        return f"{across} by ({by}) (max without ({without}) ({self.named(series)}))"


class Term(Protocol):
    """One number a pod."""

    def promql(self, scope: Scope) -> str: ...

    def metrics(self) -> tuple[str, ...]:
        """The metrics it reads, for people."""


@dataclass(frozen=True, slots=True)
class Gauge:
    """A gauge now, `across` its sub-labels."""

    name: str
    across: Literal["sum", "avg", "max"] = "sum"
    where: str = ""

    def promql(self, scope: Scope) -> str:
        return scope.per_pod(scope.selector(self.name, self.where), self.across)

    def metrics(self) -> tuple[str, ...]:
        return (self.name,)


@dataclass(frozen=True, slots=True)
class Rate:
    """A counter's increase per second over the window."""

    name: str

    def promql(self, scope: Scope) -> str:
        return scope.per_pod(f"rate({scope.selector(self.name)}[{scope.window}])")

    def metrics(self) -> tuple[str, ...]:
        return (self.name,)


@dataclass(frozen=True, slots=True)
class Arrivals:
    """As Rate, of a counter whose series begins with its first request: a rate sees nothing before the second sample and takes what the
    first one holds for nothing, so the request that is to wake a service would be lost.

    A series that was not there a window ago counts as one request more, not as what it holds: that may be a year's requests, when it is
    Prometheus that has come back after a while and not the gateway that has begun to count."""

    name: str
    where: str = ""

    def promql(self, scope: Scope) -> str:
        series = scope.selector(self.name, self.where)
        first = f"clamp_max({series} unless {series} offset {scope.window}, 1) / {scope.window_s!r}"
        rate = f"rate({series}[{scope.window}])"
        return scope.per_pod(f"({first} + {rate}) or ({first}) or {rate}")

    def metrics(self) -> tuple[str, ...]:
        return (self.name,)


@dataclass(frozen=True, slots=True)
class Under:
    """A term whose series are called by other labels, such as those of older versions; its numbers get the scope's."""

    labels: SeriesLabels
    term: Term

    def promql(self, scope: Scope) -> str:
        numbers = self.term.promql(replace(scope, labels=self.labels))
        for label, source in ((scope.labels.namespace, self.labels.namespace), (scope.labels.pod, self.labels.pod)):
            if label != source:
                numbers = f'label_replace({numbers}, {quoted(label)}, "$1", {quoted(source)}, "(.*)")'
        return f"sum by ({scope.by}) ({numbers})"

    def metrics(self) -> tuple[str, ...]:
        return self.term.metrics()


@dataclass(frozen=True, slots=True)
class Growth:
    """A gauge's change per second over the window, negative while it falls."""

    name: str
    where: str = ""

    def promql(self, scope: Scope) -> str:
        changed = scope.per_pod(f"delta({scope.selector(self.name, self.where)}[{scope.window}])")
        return f"({changed}) / {scope.window_s!r}"

    def metrics(self) -> tuple[str, ...]:
        return (self.name,)


@dataclass(frozen=True, slots=True)
class Buckets:
    """A histogram's buckets per second over the window: one number for each pod and ``le``. Cumulative, as Prometheus has them."""

    name: str

    def promql(self, scope: Scope) -> str:
        return scope.per_pod(f"rate({scope.selector(self.name + '_bucket')}[{scope.window}])", extra="le")

    def metrics(self) -> tuple[str, ...]:
        return (self.name + "_bucket",)


@dataclass(frozen=True, slots=True)
class Scaled:
    """A term in another unit."""

    term: Term
    factor: float

    def promql(self, scope: Scope) -> str:
        return f"({self.term.promql(scope)}) * {self.factor!r}"

    def metrics(self) -> tuple[str, ...]:
        return self.term.metrics()


@dataclass(frozen=True, slots=True)
class Combined:
    """Terms joined pod by pod. A pod that lacks one of them has no number: a part that is missing must not pass for zero."""

    operator: Literal["+", "-", "/"]
    terms: tuple[Term, ...]

    def promql(self, scope: Scope) -> str:
        return f" {self.operator} ".join(f"({term.promql(scope)})" for term in self.terms)

    def metrics(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for term in self.terms for name in term.metrics()))


@dataclass(frozen=True, slots=True)
class Preferred:
    """The first of several terms that a pod has: newer names before older ones."""

    terms: tuple[Term, ...]

    def promql(self, scope: Scope) -> str:
        return f" or on ({scope.by}) ".join(f"({term.promql(scope)})" for term in self.terms)

    def metrics(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for term in self.terms for name in term.metrics()))


@dataclass(frozen=True, slots=True)
class LastScrape:
    """When a pod was last scraped: the time of the newest sample (Unix seconds) of any of these metrics.

    The value of an instant query does not say how old its sample is, up to five minutes. One query for a whole preset does, since all
    of a server's metrics come with the same scrape."""

    names: tuple[str, ...]
    where: str = ""

    def promql(self, scope: Scope) -> str:
        newest = [scope.named(f"timestamp({scope.selector(name, self.where)})") for name in self.names]
        each = [f"(max by ({scope.by}) ({times}))" for times in newest]
        return f" or on ({scope.by}) ".join(each)

    def metrics(self) -> tuple[str, ...]:
        return self.names


def plus(*terms: Term) -> Combined:
    return Combined("+", terms)


def minus(first: Term, second: Term) -> Combined:
    return Combined("-", (first, second))


def ratio(numerator: Term, denominator: Term) -> Combined:
    return Combined("/", (numerator, denominator))


def preferred(*terms: Term) -> Preferred:
    return Preferred(terms)
