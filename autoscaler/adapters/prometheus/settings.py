"""What the administrator says about Prometheus servers, as opposed to what a manifest's author says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from autoscaler.adapters.prometheus.credentials import CredentialPlaces
from autoscaler.adapters.prometheus.terms import Scope, SeriesLabels
from autoscaler.errors import UsageError

DEFAULT_URL: Final = "http://prometheus-operated.monitoring.svc:9090"
MIN_WINDOW_S: Final = 60.0
SCRAPES_IN_WINDOW: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """One server.

    url: up to but without ``/api/v1``; no credentials in it. scrape_interval_s: of the inference servers, as this Prometheus does it.
    window_s: of rates (None: four scrapes, at least 60 s: two samples must lie in it even when one scrape fails).
    labels: what namespace and pod are called; preset_labels: by preset where that differs, such as ``exported_pod`` for dcgm where the
    exporter is scraped with honorLabels=false, or ``pod_name`` of old exporters; of a gateway's preset `pod` is the label with the service's
    name. confine_label: the label by which own PromQL is confined.
    concurrency: queries at a time. max_bytes: of one answer.
    """

    url: str
    credentials: CredentialPlaces = field(default_factory=CredentialPlaces)
    scrape_interval_s: float = 15.0
    window_s: float | None = None
    labels: SeriesLabels = field(default_factory=SeriesLabels)
    preset_labels: Mapping[str, SeriesLabels] = field(default_factory=dict)
    confine_label: str = "namespace"
    concurrency: int = 8
    max_bytes: int = 256 * 1024 * 1024

    def __post_init__(self) -> None:
        scheme, _, rest = self.url.partition("://")
        if scheme not in ("http", "https") or not rest or "@" in rest or "?" in rest or "#" in rest:
            # The text of the URL stays out: what is wrong with it may be a password.
            raise UsageError("a Prometheus URL is http://… or https://… without credentials, query and fragment")
        faults = self.credentials.faults()
        if faults:
            raise UsageError(f"the credentials for {self.url} don't fit together: {'; '.join(faults)}")

    def scope(self, preset: str, namespaces: tuple[str, ...] | None, labels: SeriesLabels | None = None) -> Scope:
        """What queries of a preset cover. labels: the preset's own, where it has some; an empty one is this server's."""
        if labels is None:
            labels = self.labels
        elif not labels.namespace:
            labels = replace(labels, namespace=self.labels.namespace)
        window_s = self.window_s if self.window_s is not None else max(MIN_WINDOW_S, SCRAPES_IN_WINDOW * self.scrape_interval_s)
        return Scope(window_s=window_s, labels=self.preset_labels.get(preset, labels), namespaces=namespaces)


@dataclass(frozen=True, slots=True, kw_only=True)
class PrometheusSettings:
    """All servers. default: for objects that name none. named: those that objects may name. own_urls: whether an object may give a URL of
    its own; off, because the controller then asks any address that a tenant names. namespaces: the only ones that are watched (None: all)."""

    default: ServerSettings
    named: Mapping[str, ServerSettings] = field(default_factory=dict)
    own_urls: bool = False
    namespaces: tuple[str, ...] | None = None
