"""The administrator's file of upstreams: every fault with its line, and what is told of those that share requests."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from autoscaler.errors import UsageError
from autoscaler.external_metrics.federation import Federation, Upstream, load_federation, overlaps
from autoscaler.schema import schema_of
from tests.conftest import ROOT
from tests.realparts.certificates import Authority
from tests.replay.made import write

GOOD = """\
upstreams:
- name: keda
  service: {namespace: keda, name: keda-metrics-apiserver}
  caFile: /etc/upstreams/keda.crt
  identity: impersonation
  namespaces: [team-a]
  metricPrefixes: [S0-, s1-]
- name: others
  url: https://adapter.example.com:6443/
  caFile: /etc/upstreams/others.crt
  serverName: adapter.monitoring.svc
  identity: frontProxy
  namespaces: ["*"]
  deadline: 2s
  breaker: {faults: 3, longestPause: 1m}
"""


def test_a_good_file(tmp_path: Path) -> None:
    keda, others = load_federation(write(tmp_path / "u.yaml", GOOD)).upstreams
    assert (keda.address, keda.expected_name) == (
        "https://keda-metrics-apiserver.keda.svc:443",
        "keda-metrics-apiserver.keda.svc",
    )
    assert (others.address, others.expected_name) == ("https://adapter.example.com:6443", "adapter.monitoring.svc")
    assert (keda.deadline, keda.breaker.faults, others.breaker.faults, others.breaker.first_pause) == ("5s", 5, 3, "1s")
    assert keda.owns("team-a", "s0-Prometheus")
    assert not keda.owns("team-a", "s2-prometheus")
    assert not keda.owns("team-b", "s0-prometheus")
    assert others.owns("anywhere", "anything")
    assert load_federation(write(tmp_path / "none.yaml", "upstreams: []")).upstreams == []


def test_every_fault_has_its_line(tmp_path: Path) -> None:
    text = """\
upstreams:
- name: a
  url: http://plain.example.com
  caFile: x
  identity: none
  namespaces: [Team]
- name: b
  urll: https://b
  identity: frontProxy
  metricPrefixes: [""]
  concurrency: 0
- name: a
  deadline: 5
"""
    with pytest.raises(UsageError) as error:
        load_federation(write(tmp_path / "u.yaml", text))
    lines = [line.removeprefix(f"--upstreams: {tmp_path}/u.yaml:") for line in str(error.value).splitlines()]
    assert lines.pop() == "nothing was started"
    assert sorted(line.split(":")[:2] for line in lines) == [
        ["10", " upstreams[1].metricPrefixes[0]"],
        ["11", " upstreams[1].concurrency"],
        ["12", " upstreams[2].identity"],
        ["12", " upstreams[2].name"],
        ["13", " upstreams[2].deadline"],
        ["3", " upstreams[0].url"],
        ["5", " upstreams[0].identity"],
        ["6", " upstreams[0].namespaces[0]"],
        ["8", " upstreams[1].urll"],
    ]
    words = str(error.value)
    assert "an https:// URL without" in words
    assert "a namespace, or '*' for every one, is expected (is: Team)" in words
    assert "did you mean 'url'?" in words
    assert "one of impersonation, frontProxy is allowed" in words


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("caFile: x, namespaces: [a]", "upstreams[0].url: either url or service is expected"),
        ("url: https://a, service: {namespace: b, name: c}, caFile: x, namespaces: [a]", "either url or service is expected"),
        ("url: https://a/path, caFile: x, namespaces: [a]", "a host and, at most, a port"),
        ("url: 'https://a:b', caFile: x, namespaces: [a]", "a host and, at most, a port"),
        ("url: https://a, namespaces: [a]", "upstreams[0].caFile: either caFile or ca (PEM) is expected"),
        ("url: https://a, caFile: x, ca: z, namespaces: [a]", "always verified (is: x)"),
        ("url: https://a, ca: nonsense, namespaces: [a]", "upstreams[0].ca: a PEM certificate is expected"),
        ("url: https://a, ca: '', namespaces: [a]", "upstreams[0].ca: a PEM certificate is expected"),
        ("url: https://a, caFile: x", "upstreams[0].namespaces: namespaces, metricPrefixes or both are expected"),
    ],
)
def test_rules_between_fields(tmp_path: Path, settings: str, words: str) -> None:
    with pytest.raises(UsageError) as error:
        load_federation(write(tmp_path / "u.yaml", f"upstreams: [{{name: a, identity: impersonation, {settings}}}]"))
    assert words in str(error.value)
    assert f"--upstreams: {tmp_path}/u.yaml:1: " in str(error.value)


def test_pem_in_the_file_itself(tmp_path: Path) -> None:
    pem = Authority("a", tmp_path).certificate.read_text().replace("\n", "\n    ")
    text = f"upstreams:\n- name: a\n  url: https://a\n  identity: impersonation\n  namespaces: [b]\n  ca: |\n    {pem}"
    (found,) = load_federation(write(tmp_path / "u.yaml", text)).upstreams
    assert found.ca is not None
    assert found.ca.startswith("-----BEGIN CERTIFICATE-----")


def test_the_page_tells_every_field() -> None:
    page = (ROOT / "docs" / "migrating-from-keda.md").read_text("utf-8").split("\n## Upstreams\n")[1]
    rows = [line.strip("|").split("|") for line in page.splitlines() if line.startswith("| `")]
    told = {name: default.strip() for names, _, default in rows for name in re.findall(r"`(\w+)`", names)}
    fields = schema_of(Upstream)["properties"]
    assert set(told) == set(fields)
    for name, schema in fields.items():
        default = schema.get("default")
        if isinstance(default, (str, int)) and name not in ("tokenFile", "largestAnswerBytes"):
            assert told[name].strip("`") == str(default).lower(), name
    assert (told["tokenFile"], told["largestAnswerBytes"]) == ("the pod's own", "1 MiB")
    assert told["breaker"] == "5, `1s`, `30s`"


def test_the_example_is_right() -> None:
    (found,) = load_federation(ROOT / "deploy" / "examples" / "migrating-from-keda" / "upstreams.yaml").upstreams
    assert (found.address, found.identity) == ("https://keda-metrics-apiserver.keda.svc:443", "impersonation")


@pytest.mark.parametrize(
    ("first", "second", "shared"),
    [
        ((["a"], []), (["b"], []), None),
        (([], ["s0-"]), ([], ["s1-"]), None),
        ((["a"], ["s0-"]), (["*"], ["s1-"]), None),
        ((["*"], []), (["*"], []), "all metrics in every namespace"),
        ((["a", "b"], []), (["b", "c"], ["X"]), "metrics that begin with 'x' in b"),
        ((["*"], ["S"]), (["c"], ["s0-", "t"]), "metrics that begin with 's0-' in c"),
        (([], ["s0-a"]), (["c"], ["s0-"]), "metrics that begin with 's0-a' in c"),
    ],
)
def test_overlaps(first: tuple[list[str], list[str]], second: tuple[list[str], list[str]], shared: str | None) -> None:
    made = [
        Upstream(
            name=name, identity="impersonation", url="https://a", ca_file="x", namespaces=namespaces, metric_prefixes=prefixes
        )
        for name, (namespaces, prefixes) in (("one", first), ("two", second))
    ]
    found = overlaps(Federation(upstreams=made))
    assert found == (
        [] if shared is None else [f"upstreams[1] (two) and upstreams[0] (one) both own {shared}; the first one gets them"]
    )
