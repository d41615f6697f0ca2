"""Pieces of PromQL that presets are made of: each gives one number for each pod, for all pods of a cluster in one query.

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
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from autoscaler.adapters.prometheus.promql_text import quoted

SCRAPE_LABELS: Final = ("job", "service", "endpoint", "container", "prometheus", "prometheus_replica")


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesLabels:
    """What labels are called in a server. scrape: labels put on by scraping, by which duplicates differ."""

    namespace: str = "namespace"
    pod: str = "pod"
    scrape: tuple[str, ...] = SCRAPE_LABELS


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
        """Series of `metric` that belong to a pod, with further matchers `where`."""
        matchers = [f"__name__={quoted(metric)}", f'{self.labels.pod}!=""']
        if where:
            matchers.append(where)
        if self.namespaces is not None:
            either = "|".join(re.escape(namespace) for namespace in self.namespaces)
            matchers.append(f"{self.labels.namespace}=~{quoted(either)}")
        return "{" + ",".join(matchers) + "}"

    def per_pod(self, series: str, across: str = "sum", extra: str = "") -> str:
        """One number for each pod: duplicates made one, then `across` the pod's own sub-labels."""
        without = ", ".join(self.labels.scrape)
        by = f"{self.by}, {extra}" if extra else self.by
        return f"{across} by ({by}) (max without ({without}) ({series}))"


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

    def promql(self, scope: Scope) -> str:
        each = [f"(max by ({scope.by}) (timestamp({scope.selector(name)})))" for name in self.names]
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
