"""From the administrator's configuration file to what the adapter is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from autoscaler.adapters.prometheus.credentials import CredentialPlaces, FromFile, Place, Plain
from autoscaler.adapters.prometheus.settings import DEFAULT_URL, PrometheusSettings, ServerSettings
from autoscaler.adapters.prometheus.terms import SeriesLabels
from autoscaler.configuration import Configuration, Server, ServerCredentials
from autoscaler.errors import UsageError
from autoscaler.spec import duration_s


def prometheus_settings(configuration: Configuration, url: str | None, namespaces: tuple[str, ...]) -> PrometheusSettings:
    """What the Prometheus adapter is told. Raises UsageError."""
    default = ServerSettings(url=DEFAULT_URL)
    if configuration.prometheus is not None:
        default = _server(configuration.prometheus, "prometheus")
    if url:
        try:
            default = replace(default, url=url)
        except UsageError as fault:
            raise UsageError(f"--prometheus: {fault}") from None
    return PrometheusSettings(
        default=default,
        named={name: _server(server, f"servers.{name}") for name, server in configuration.servers.items()},
        own_urls=configuration.own_urls,
        namespaces=namespaces or None,
    )


def _server(server: Server, path: str) -> ServerSettings:
    credentials = _places(server.credentials)
    faults = credentials.faults()
    if faults:
        raise UsageError(f"--config: {path}.credentials: {'; '.join(faults)}")
    return ServerSettings(
        url=server.url,
        credentials=credentials,
        scrape_interval_s=duration_s(server.scrape_interval),
        window_s=None if server.rate_window is None else duration_s(server.rate_window),
        labels=SeriesLabels(namespace=server.labels.namespace, pod=server.labels.pod),
        preset_labels={
            preset: SeriesLabels(namespace=labels.namespace, pod=labels.pod) for preset, labels in server.preset_labels.items()
        },
        confine_label=server.confine_label,
        concurrency=server.concurrency,
    )


def _places(given: ServerCredentials) -> CredentialPlaces:
    def file(path: str | None) -> Place | None:
        return FromFile(path) if path is not None else None

    headers: Mapping[str, Place] = {
        **{name: Plain(value) for name, value in given.headers.items()},
        **{name: FromFile(path) for name, path in given.header_files.items()},
    }
    return CredentialPlaces(
        bearer_token=file(given.bearer_token_file),
        username=given.username,
        password=file(given.password_file),
        ca=file(given.ca_file),
        cert=file(given.cert_file),
        key=file(given.key_file),
        server_name=given.server_name,
        headers=headers,
    )
