"""The administrator's file for ``autoscaler run --config``: Prometheus servers and their credentials.

Its structure is checked by the same walker as manifests: every fault with its line. Secrets lie in files (mounted Secrets), which are read
again when they change; manifests' own credentials lie in Secrets of their namespace (see ``spec.PrometheusRef``).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import yaml
from msgspec import Meta

from autoscaler.errors import UsageError
from autoscaler.spec import Base, Duration


class ServerCredentials(Base):
    """Credentials of one server, each in a file."""

    bearer_token_file: str | None = None
    username: str | None = None
    password_file: str | None = None
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    server_name: str | None = None
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    """Plain values, such as a tenant id."""
    header_files: dict[str, str] = msgspec.field(default_factory=dict)


class SeriesLabelNames(Base):
    """What labels are called in a server's series."""

    namespace: str = "namespace"
    pod: str = "pod"


class Server(Base):
    """One Prometheus (or Thanos, Mimir, VictoriaMetrics)."""

    url: Annotated[str, Meta(pattern=r"^https?://[^\s?#@]+$")]
    credentials: ServerCredentials = msgspec.field(default_factory=ServerCredentials)
    scrape_interval: Duration = "15s"
    """How often it scrapes the inference servers."""
    rate_window: Duration | None = None
    """Of rates; four scrapes, at least 60 s, where left out."""
    labels: SeriesLabelNames = msgspec.field(default_factory=SeriesLabelNames)
    preset_labels: dict[str, SeriesLabelNames] = msgspec.field(default_factory=dict)
    """By preset where labels differ, such as exported_pod for dcgm scraped with honorLabels=false."""
    confine_label: str = "namespace"
    """The label by which manifests' own PromQL is confined to their namespace."""
    concurrency: Annotated[int, Meta(ge=1, le=256)] = 8


class Configuration(Base):
    """The whole file."""

    prometheus: Server | None = None
    """For objects that name no server; ``--prometheus URL`` overrides its URL."""
    servers: dict[str, Server] = msgspec.field(default_factory=dict)
    """Servers that objects may name (signals.prometheus.name)."""
    own_urls: bool = False
    """Whether objects may give URLs of their own: the controller then asks any address that a tenant names."""


def load_configuration(path: Path | None) -> Configuration:
    """The administrator's file. Raises UsageError with the key, the value and what is allowed."""
    if path is None:
        return Configuration()
    try:
        data = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"--config: {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise UsageError(f"--config: {path} is no YAML: {error}") from error
    try:
        return msgspec.convert(data or {}, Configuration)
    except msgspec.ValidationError as error:
        raise UsageError(f"--config: {path}: {error}; nothing was started") from error
