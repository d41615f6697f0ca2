"""Prometheus in: signals of all services by a constant number of queries, unknown never taken for zero.

From a query to a signal: ``presets`` and ``gateways`` say in which metrics signals lie (``terms``: as PromQL for all pods at once) → ``client``
asks (``credentials``, ``tls``; ``problems`` are what can go wrong) → ``answers`` decodes → ``pods`` knows whose a series is →
``columns`` remembers by pod and merges by service (``quantiles``) → ``source`` puts a tick together, ``words`` say why something is unknown.
Own PromQL is confined by ``promql`` (printed by ``promql_text``) and read by ``own_reader``. ``wiring`` turns manifests into what must be
asked under the administrator's ``settings`` (from the file: ``configured``); ``past`` reads history for a cold start and for
``replay record``, stretch by stretch (``stretches``); whose a pod was then is told by ``pod_names``.
"""

from autoscaler.adapters.prometheus.answers import Matrix, Row, labels_of, numbers
from autoscaler.adapters.prometheus.configured import prometheus_settings
from autoscaler.adapters.prometheus.credentials import CredentialPlaces, Credentials, FromFile, FromSecret, Plain
from autoscaler.adapters.prometheus.past import Past, read_gateway_past, read_past
from autoscaler.adapters.prometheus.preset_reader import PresetReader
from autoscaler.adapters.prometheus.promql import PART_LABEL, VALUE_PART, ConfinedQuery, QueryRefused, confine
from autoscaler.adapters.prometheus.settings import PrometheusSettings, ServerSettings
from autoscaler.adapters.prometheus.source import PrometheusSource
from autoscaler.adapters.prometheus.terms import SeriesLabels
from autoscaler.adapters.prometheus.wiring import GatewayUse, OwnUse, PresetUse, Wiring, check_signals, wire

__all__ = [
    "PART_LABEL",
    "VALUE_PART",
    "ConfinedQuery",
    "CredentialPlaces",
    "Credentials",
    "FromFile",
    "FromSecret",
    "GatewayUse",
    "Matrix",
    "OwnUse",
    "Past",
    "Plain",
    "PresetReader",
    "PresetUse",
    "PrometheusSettings",
    "PrometheusSource",
    "QueryRefused",
    "Row",
    "SeriesLabels",
    "ServerSettings",
    "Wiring",
    "check_signals",
    "confine",
    "labels_of",
    "numbers",
    "prometheus_settings",
    "read_gateway_past",
    "read_past",
    "wire",
]
