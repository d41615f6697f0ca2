"""The administrator's file: every fault with its line, and no secret in the words."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoscaler.adapters.prometheus.configured import prometheus_settings
from autoscaler.configuration import Configuration, load_configuration
from autoscaler.errors import UsageError
from tests.replay.made import write

GOOD = """\
prometheus:
  url: https://mimir.example.com/prometheus
  scrapeInterval: 30s
  credentials:
    bearerTokenFile: /etc/prometheus/token
    headers: {X-Scope-OrgID: team-a}
  presetLabels:
    dcgm: {namespace: exported_namespace, pod: exported_pod}
servers:
  eu: {url: "http://prometheus.eu.svc:9090"}
ownUrls: true
"""


def test_a_good_file(tmp_path: Path) -> None:
    found = load_configuration(write(tmp_path / "c.yaml", GOOD))
    assert found.prometheus is not None
    assert found.prometheus.url == "https://mimir.example.com/prometheus"
    assert found.prometheus.credentials.headers == {"X-Scope-OrgID": "team-a"}
    assert found.prometheus.preset_labels["dcgm"].pod == "exported_pod"
    assert (found.servers["eu"].url, found.servers["eu"].scrape_interval, found.own_urls) == (
        "http://prometheus.eu.svc:9090",
        "15s",
        True,
    )
    assert load_configuration(None) == load_configuration(write(tmp_path / "empty.yaml", "")) == Configuration()


def test_every_fault_has_its_line_and_says_no_secret(tmp_path: Path) -> None:
    text = """\
prometheus:
  url: http://me:s3cret@prometheus:9090
  credential: {}
  scrapeInterval: 15
  credentials: {headers: {X: 5}, bearerToken: s3cret, username: [s3cret]}
servers:
  eu: {ur: x}
  us: http://x
"""
    with pytest.raises(UsageError) as error:
        load_configuration(write(tmp_path / "c.yaml", text))
    words = str(error.value)
    assert "s3cret" not in words
    lines = [line.removeprefix(f"--config: {tmp_path}/c.yaml:") for line in words.splitlines()]
    assert lines.pop() == "nothing was started"
    begins = [line.split(":")[:2] for line in lines]
    assert sorted(begins) == [
        ["2", " prometheus.url"],
        ["3", " prometheus.credential"],
        ["4", " prometheus.scrapeInterval"],
        ["5", " prometheus.credentials.bearerToken"],
        ["5", " prometheus.credentials.headers.X"],
        ["5", " prometheus.credentials.username"],
        ["7", " servers.eu.ur"],
        ["7", " servers.eu.url"],
        ["8", " servers.us"],
    ]
    assert "did you mean 'bearerTokenFile'?" in words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("prometheus: {url: [\n", "not YAML"),
        ("- a\n", "a mapping is expected"),
        ("a: 1\n---\nb: 1\n", "one document is expected"),
    ],
)
def test_what_is_no_configuration(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        load_configuration(write(tmp_path / "c.yaml", text))


def test_a_flag_that_is_no_url_is_named() -> None:
    with pytest.raises(UsageError, match=r"^--prometheus: a Prometheus URL is http"):
        prometheus_settings(Configuration(), "localhost:9090", ())
