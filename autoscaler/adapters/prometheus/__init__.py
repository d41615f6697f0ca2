"""Prometheus in: signals of all services by a constant number of queries, unknown never taken for zero.

From a query to a signal: ``presets`` say in which metrics a server's signals lie (``terms``: as PromQL for all pods at once) → ``client``
asks (``credentials``, ``tls``; ``problems`` are what can go wrong) → ``answers`` decodes → ``pods`` knows whose a series is →
``columns`` remembers by pod and merges by service (``quantiles``) → ``source`` puts a tick together, ``words`` say why something is unknown.
Own PromQL is confined by ``promql`` (printed by ``promql_text``) and read by ``own_reader``. ``wiring`` turns manifests into what must be
asked under the administrator's ``settings``; ``past`` reads history for a cold start.
"""

from autoscaler.adapters.prometheus.credentials import CredentialPlaces, Credentials, FromFile, FromSecret, Plain
from autoscaler.adapters.prometheus.promql import ConfinedQuery, QueryRefused, confine
from autoscaler.adapters.prometheus.settings import PrometheusSettings, ServerSettings
from autoscaler.adapters.prometheus.source import PrometheusSource
from autoscaler.adapters.prometheus.terms import SeriesLabels
from autoscaler.adapters.prometheus.wiring import check_signals

__all__ = [
    "ConfinedQuery",
    "CredentialPlaces",
    "Credentials",
    "FromFile",
    "FromSecret",
    "Plain",
    "PrometheusSettings",
    "PrometheusSource",
    "QueryRefused",
    "SeriesLabels",
    "ServerSettings",
    "check_signals",
    "confine",
]
