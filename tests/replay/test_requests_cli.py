"""``scenario.plant=requests`` on the command line: whose requests are played, and which commands take it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner, Result

from replay.cli import main
from tests.replay.made import STANDARD, write

REQUESTS = ("--set", "scenario.plant=requests")
AS_IT_IS = (*REQUESTS, "--set", "scenario.scale.mode=Factor", "--set", "scenario.requests.capacityWork=210")
SURGE = f"{STANDARD / 'traces' / 'surge.csv'}:length=10m"
ALONE_S = (32 / (1 + 32 / 64)) / (1.6 * 210)
"""Seconds a token-equivalent takes an empty replica that does 1.6 requests of 210 a second at its full batch, less the slowdown."""


def replay(*arguments: str) -> Result:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    return result


def score(*arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(replay(*arguments, "--json").stdout)
    return found


@pytest.fixture
def log(tmp_path: Path) -> str:
    """A hundred requests, each alone in the service: 99 of 210 token-equivalents, one of 2100."""
    lines = [f"{60 * number},{'1000,2000' if number == 50 else '100,200'}" for number in range(100)]
    return str(write(tmp_path / "log.csv", "\n".join(["arrival_s,prompt_tokens,output_tokens", *lines]) + "\n"))


def test_a_log_s_own_requests_are_played(log: str) -> None:
    found = score("run", "-t", log, "-p", "fixed:replicas=3", *AS_IT_IS)
    assert found["requests"] == 100
    a_token_s = ALONE_S * (1 + 1 / 64)
    assert found["ttft_s"]["p50"] == pytest.approx(10 * a_token_s)
    assert found["latency_s"]["p50"] == pytest.approx(210 * a_token_s)
    assert found["latency_s"]["p99"] == pytest.approx(210 * a_token_s)
    assert found["services"]["default/standard"]["latency_s"] == found["latency_s"]
    fluid = score("run", "-t", log, "-p", "fixed:replicas=3", "--set", "scenario.scale.mode=Factor")
    assert "latency_s" not in fluid
    words = replay("run", "-t", log, "-p", "fixed:replicas=3", *AS_IT_IS).stdout
    assert "1st token  p50 0.6 s" in words
    assert "to the end p50 13.5 s" in words


def test_counts_get_the_scenario_s_lengths(tmp_path: Path) -> None:
    counts = str(write(tmp_path / "counts.csv", "offset_s,requests\n" + "".join(f"{60 * n},1\n" for n in range(100))))
    lengths = "scenario.requests.{}={{distribution: Fixed, mean: {}}}"
    found = score(
        *("run", "-t", counts, "-p", "fixed:replicas=3", *AS_IT_IS, "--set", "scenario.noise=false"),
        *("--set", lengths.format("promptTokens", 200), "--set", lengths.format("outputTokens", 300)),
    )
    a_token_s = ALONE_S * (1 + 1 / 64)
    assert found["requests"] == 100
    assert found["ttft_s"]["p50"] == pytest.approx(20 * a_token_s)
    assert found["latency_s"]["p99"] == pytest.approx(320 * a_token_s)


def test_compare_plays_the_same_requests_as_run(log: str, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    policies = ("fixed:replicas=3", "reactive")
    found = score(
        "compare", "--jobs", "1", "-t", log, *(word for one in policies for word in ("-p", one)), *AS_IT_IS, "-o", str(page)
    )["scores"]
    for one, its in zip(policies, found, strict=True):
        alone = score("run", "-t", log, "-p", one, *AS_IT_IS)
        assert {**its, "wall_s": 0, "services": 0} == {**alone, "wall_s": 0, "services": 0}
    assert '"latency_s":{"p50"' in page.read_text()
    assert "p99 latency" in replay("compare", "--jobs", "1", "-t", log, "-p", "fixed:replicas=3", *AS_IT_IS).stdout


def test_a_report_judges_what_the_promise_speaks_of(log: str, tmp_path: Path) -> None:
    promise = ("--set", "objective.signal=latency_s", "--set", "objective.target=20s")
    replay("run", "-t", log, "-p", "fixed:replicas=3", *AS_IT_IS, *promise, "-o", str(tmp_path))
    found = orjson.loads((tmp_path / "score.json").read_bytes())
    assert found["attained_ratio"] == 0.99
    page = (tmp_path / "report.html").read_text()
    assert '"allowed_s":20.0,"judged":"latency_s"' in page
    data = orjson.loads(page.partition("const data = ")[2].partition(";\n")[0])
    (span,) = data["services"][0]["worst"]
    assert (span["late"], span["wait"]) == (1.0, 135 + 1)  # the long one takes 134.9 s


def test_every_command_that_takes_a_scenario_takes_the_plant(tmp_path: Path) -> None:
    # The optimum is the fluid plant's in any case.
    fluid, singly = (score("optimum", "-t", SURGE, *plant) for plant in ((), REQUESTS))
    assert singly.pop("notes") != fluid.pop("notes")
    assert {**singly, "wall_s": 0} == {**fluid, "wall_s": 0}
    both = score("compare", "--jobs", "1", "-t", SURGE, "-p", "fixed:replicas=60", "--optimum", *REQUESTS)["scores"][0]
    assert both["optimum"]["replica_hours"] == fluid["replica_hours"]
    assert "latency_s" in both
    replay("run", "-t", SURGE, "-p", "reactive", "-o", str(tmp_path))
    manifest = str(STANDARD / "manifest.yaml")
    closed, *_ = score("regret", "--jobs", "1", str(tmp_path), "-f", manifest, "-p", "fixed:replicas=50", *REQUESTS)["scores"]
    assert closed["loop"] == "closed"
    assert closed["latency_s"]["p50"] > 5
    one = """
tests:
  - name: requests have latencies of their own
    scenario: {plant: requests}
    traffic: 8x40
    expect: [{at: 5m, replicas: "5..20"}]
    score: {latency_s.p50: 5..60, ttft_s.p50: 0.1..10}
"""
    assert replay("test", str(write(tmp_path / "one.yaml", one))).exit_code == 0


def test_prefill_and_decode_scale_apart(tmp_path: Path) -> None:
    def service(name: str, per_s: float, slots: int, objective: str) -> str:
        return (
            "apiVersion: inference-autoscaler.io/v1alpha1\nkind: InferenceAutoscaler\n"
            f"metadata: {{name: {name}, namespace: models}}\nspec:\n  scaleTargetRef: {{kind: Deployment, name: {name}}}\n"
            f"  minReplicas: 1\n  maxReplicas: 100\n  objective: {objective}\n"
            f"  capacity: {{requestsPerSecond: {per_s}, concurrency: {slots}}}\n"
            "  policies: [{name: target, params: {signal: concurrency}}]\n---\n"
        )

    pair = service("read", 4, 4, "{signal: ttft_s, target: 4s, promised: 95%}") + service(
        "write", 1, 32, "{signal: latency_s, target: 90s, promised: 90%}"
    )
    manifest = write(tmp_path / "pair.yaml", pair)
    setting = write(
        tmp_path / "scenario.yaml",
        "plant: requests\nwarmup: 20m\nscale: {mode: Factor, factor: 0.4}\nreplicas: {initial: 16}\n"
        "requests:\n  twoPools:\n    - {prefill: models/read, decode: models/write}\n",
    )
    found = score("run", "-f", str(manifest), "-s", str(setting), "-t", str(STANDARD / "traces" / "surge.csv"))
    read, written = found["services"]["models/read"], found["services"]["models/write"]
    assert read["requests"] == pytest.approx(written["requests"], rel=0.05)
    # Each has the capacity that its own part of the work takes, and scales by its own queue.
    assert written["replica_hours"] > 2 * read["replica_hours"]
    assert min(read["actions"], written["actions"]) > 5
    # The first stage's end is its first token; the second stage's end is that of the whole way.
    assert read["latency_s"] == read["ttft_s"]
    for quantile in ("p50", "p95", "p99"):
        assert written["ttft_s"][quantile] >= read["ttft_s"][quantile] * 0.9
        assert written["latency_s"][quantile] > written["ttft_s"][quantile]
    assert (read["promised_ratio"], written["promised_ratio"]) == (0.95, 0.9)
