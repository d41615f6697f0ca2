"""What the process tells about itself at /metrics. Counted here instead of logged: at thousands of requests a minute nobody reads a log."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from autoscaler.adapters.telemetry.families import PREFIX, Family, rendered
from autoscaler.external_metrics.values import Values

if TYPE_CHECKING:
    from autoscaler.external_metrics.connections import Connections

_PREFIX: Final = f"{PREFIX}external_metrics_"
_BUCKETS_S: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class OwnMetrics:
    """families: asked at each scrape for what other parts count."""

    def __init__(self, values: Values, families: Callable[[], Iterable[Family]]) -> None:
        self._families = families
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        registry = self.registry
        self._requests = Counter(
            _PREFIX + "requests", "Requests answered, by kind and code.", ["kind", "code"], registry=registry
        )
        self._duration_s = Histogram(
            _PREFIX + "request_duration_seconds",
            "From a request's head to its answer, by kind; without writing it.",
            ["kind"],
            buckets=_BUCKETS_S,
            registry=registry,
        )
        self._counters: dict[tuple[str, int], Counter] = {}
        self._histograms: dict[str, Histogram] = {}
        held = Gauge(_PREFIX + "values", "Values that are held, known or not.", registry=registry)
        held.set_function(values.metrics)

    def count(self, kind: str, code: int, took_s: float) -> None:
        """One request. kind: from a list that the server has, never of the request's own words, which would be series without end."""
        counter = self._counters.get((kind, code))
        if counter is None:
            counter = self._counters[kind, code] = self._requests.labels(kind, str(code))
        counter.inc()
        histogram = self._histograms.get(kind)
        if histogram is None:
            histogram = self._histograms[kind] = self._duration_s.labels(kind)
        histogram.observe(took_s)

    def render(self, connections: Connections | None) -> bytes:
        """The whole page, as Prometheus reads it."""
        return generate_latest(self.registry) + "".join(rendered([*self._own(connections), *self._families()])).encode()

    def _own(self, connections: Connections | None) -> Iterable[Family]:
        if connections is not None:
            yield Family(
                name="external_metrics_connections",
                help="Connections that are open, those that still shake hands apart.",
                kind="gauge",
                samples={(): len(connections)},
            )
            yield Family(
                name="external_metrics_connections_closed_total",
                help="Connections that were closed by this side before their client did, by reason.",
                kind="counter",
                samples={(("reason", reason),): count for reason, count in connections.closed.items()},
            )
