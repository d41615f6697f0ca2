"""The administrator's file for ``autoscaler run --config``: Prometheus servers and their credentials.

Its structure is checked by the same walker as manifests: every fault with its line. Secrets lie in files (mounted Secrets), which are read
again when they change; manifests' own credentials lie in Secrets of their namespace (see ``spec.PrometheusRef``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from autoscaler.errors import UsageError
from autoscaler.schema import schema_of
from autoscaler.spec import URL_PATTERN, Base, Duration
from autoscaler.structure import Flaw, check, dotted, shown
from autoscaler.yaml_tree import Document, documents


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

    url: Annotated[str, Meta(pattern=URL_PATTERN)]
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


Settings = TypeVar("Settings", bound=Base)


def load_configuration(path: Path | None) -> Configuration:
    """The administrator's file. Raises UsageError with every fault: line, key, value, what is allowed."""
    return Configuration() if path is None else read_settings(path, Configuration, "--config")


def read_settings(
    path: Path, kind: type[Settings], flag: str, rules: Callable[[Settings], Iterable[Flaw]] = lambda _: ()
) -> Settings:
    """A file of settings that `flag` names. rules: what no field alone can say; asked once each field is fine.

    Raises UsageError with every fault: line, key, value, what is allowed."""
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise UsageError(f"{flag}: {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{flag}: {path}: not UTF-8 text (byte {error.start})") from error
    found = list(documents(text)) or [Document()]
    faults = [f"{path}:{one.line}: {one.message}" for document in found for one in document.problems]
    if len(found) > 1 and not faults:
        faults.append(f"{path}:{found[1].line}: one document is expected")
    whole, flaws = check(schema_of(kind), found[0].tree or {})
    faults += [_words(path, found[0], flaw) for flaw in flaws]
    settings = None
    if not faults:
        settings = msgspec.convert(whole, kind)
        faults = [_words(path, found[0], flaw) for flaw in rules(settings)]
    if settings is None or faults:
        raise UsageError("\n".join([*(f"{flag}: {fault}" for fault in faults), "nothing was started"]))
    return settings


def _words(path: Path, document: Document, flaw: Flaw) -> str:
    """The flaw with its line. Values of credentials and what stands before the @ of a URL stay out: they may be secrets."""
    value = "" if "credentials" in flaw.path else re.sub(r"//[^/@]*@", "//…@", shown(flaw.value))
    where = f"{path}:{document.line_of(flaw.path)}: {dotted(flaw.path)}".removesuffix(": ")
    return f"{where}: {flaw.message}" + (f" (is: {value})" if value else "")
