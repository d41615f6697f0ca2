"""The controller's own metrics: a few dozen series of itself through prometheus-client, and a few per object rendered by hand.

Per object, because a labelled gauge costs 26 µs to render and ten thousand objects have many (measured; docs/dependencies.md); the text is
made when somebody scrapes, from columns that a tick left behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from autoscaler.adapters.telemetry.families import PREFIX, Family, rendered
from autoscaler.adapters.telemetry.pool_series import pool_series
from autoscaler.core.model import Decisions, Floats, Ints, Written
from autoscaler.core.signals import SIGNALS, SignalState
from autoscaler.core.trust import Trust, trust_of
from autoscaler.ports import Tick


def _trusted(trust: Trust) -> Ints | Floats:
    """As whole numbers, which are shorter to tell, where they are known of all."""
    return trust.trusted if np.isnan(trust.trusted).any() else trust.trusted.astype(np.int64)


def _bottlenecks(decisions: Decisions) -> Floats | None:
    """(n,): NaN without a role, or where nobody is in need."""
    if decisions.roles is None:
        return None
    neediest = decisions.roles.bottleneck
    return np.where(neediest >= 0, neediest == np.arange(len(neediest)), np.nan)


class Metrics:
    """A reporter that keeps the last tick's columns and renders them on demand.

    others: asked at each scrape for what other parts count."""

    def __init__(self, others: Callable[[], Iterable[Family]] = lambda: ()) -> None:
        self._others = others
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        registry = self.registry
        self._ticks = Counter(PREFIX + "ticks", "Ticks that were run.", registry=registry)
        self._step_s = Histogram(
            PREFIX + "tick_step_seconds",
            "Time of a tick by step.",
            ["step"],
            buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10),
            registry=registry,
        )
        self._writes = Counter(PREFIX + "scale_writes", "Writes of a replica count, by result.", ["result"], registry=registry)
        self._problems = Counter(PREFIX + "policy_failures", "Times that a policy broke its contract.", registry=registry)
        self._leading = Gauge(PREFIX + "leading", "1 while this process may act.", registry=registry)
        self._last_tick = Gauge(PREFIX + "last_tick_timestamp_seconds", "When the last tick began.", registry=registry)
        self._objects = Gauge(PREFIX + "objects", "Objects that are decided on.", registry=registry)
        self._unlearnt = Gauge(PREFIX + "objects_without_past", "Objects whose past is still to be learnt.", registry=registry)
        self._tick: Tick | None = None
        self._labels: tuple[str, ...] = ()
        self._revision = -1

    async def report(self, tick: Tick) -> None:
        self._ticks.inc()
        for step, seconds in tick.timings_s.items():
            self._step_s.labels(step).observe(seconds)
        counts = np.bincount(tick.outcome.written, minlength=len(Written))
        for result in (Written.DONE, Written.REFUSED, Written.FAILED):
            if counts[result]:
                self._writes.labels(result.name.lower()).inc(int(counts[result]))
        self._problems.inc(len(tick.problems))
        self._leading.set(tick.leading)
        self._last_tick.set(tick.decisions.at_s)
        self._objects.set(len(tick.fleet))
        self._unlearnt.set(len(tick.unlearnt))
        self._tick = tick
        if tick.fleet.revision != self._revision:
            self._labels = tuple(f'{{namespace="{spec.namespace}",name="{spec.name}"}}' for spec in tick.fleet.specs)
            self._revision = tick.fleet.revision

    def render(self) -> bytes:
        """The whole page in Prometheus' text format."""
        return generate_latest(self.registry) + "".join([*rendered(self._others()), *self._per_object()]).encode()

    def _per_object(self) -> Iterable[str]:
        tick = self._tick
        if tick is None:
            return
        fleet, decisions = tick.fleet, tick.decisions
        trust = trust_of(decisions)
        for name, help_text, values in (
            ("current_replicas", "spec.replicas of the target.", fleet.current),
            ("ready_replicas", "Ready replicas.", fleet.ready),
            ("starting_replicas", "Replicas created and not ready.", fleet.starting),
            ("recommended_replicas", "The policies' wish; absent while they cannot tell.", np.ceil(decisions.recommended - 1e-9)),
            ("desired_replicas", "After the constraints.", decisions.desired),
            ("planned_replicas", "After sharing the cluster's budgets.", tick.plan.replicas),
            ("blind", "1 while no policy can tell.", decisions.blind.astype(np.int64)),
            ("partial", "1 while some needed signal is unknown.", decisions.partial.astype(np.int64)),
            ("lead_time_seconds", "Time from a patch to ready that is reckoned with.", fleet.lead_time_s),
            ("node_lead_time_seconds", "What a new node adds to it.", fleet.node_lead_time_s),
            (
                "capacity_requests_per_second",
                "What one ready replica is taken to do; absent while unknown.",
                decisions.capacity_per_s,
            ),
            ("capacity_confidence_ratio", "Of a capacity that is learnt; 0 where all was given.", decisions.capacity_confidence),
            (
                "forecast_trusted",
                "0 while the forecast has lost its vote; absent where no policy scores one.",
                None if trust is None else _trusted(trust),
            ),
            (
                "forecast_missed_ratio",
                "How often demand lately exceeded what the forecast says is exceeded as often as forecast_claimed_ratio.",
                None if trust is None else trust.missed_ratio,
            ),
            (
                "forecast_claimed_ratio",
                "How often the forecast says it is exceeded.",
                None if trust is None else trust.claimed_ratio,
            ),
            (
                "bottleneck",
                "1 for the role of a service that is most in need of more, 0 for its others.",
                _bottlenecks(decisions),
            ),
        ):
            if values is None:
                continue
            yield f"# HELP {PREFIX}{name} {help_text}\n# TYPE {PREFIX}{name} gauge\n"
            for labels, value in zip(self._labels, values.tolist(), strict=True):
                if value == value:
                    yield f"{PREFIX}{name}{labels} {value}\n"
        yield from rendered(pool_series(tick))
        yield f"# HELP {PREFIX}signal Latest value of a signal, in its unit; absent while unknown.\n# TYPE {PREFIX}signal gauge\n"
        for signal, column in tick.readings.signals.items():
            if signal not in SIGNALS:
                continue
            known = column.state != SignalState.UNKNOWN
            values = column.values.tolist()
            for row in np.flatnonzero(known & np.isfinite(column.values)).tolist():
                yield f'{PREFIX}signal{self._labels[row][:-1]},signal="{signal}"}} {values[row]}\n'
