"""``replay record`` against a real Prometheus: what it takes, what stays a gap, how it goes on after an interruption."""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
import pytest_asyncio
from click.testing import CliRunner

from autoscaler.core.signals import KNOWN
from autoscaler.manifests import load_manifests
from autoscaler.spec import Signals
from replay.cli import main
from replay.cli.moments import moment
from replay.record import service_of
from replay.traces.registry import read_any, read_trace
from replay.traces.signal_series import SignalSeries
from tests.adapters.prometheus.worlds import PodsInMemory, a_fleet, a_service, a_source, wanted
from tests.conftest import ROOT
from tests.realparts.fault_proxy import Answer, Fault, FaultProxy, Hang
from tests.realparts.prometheus_server import PrometheusServer

pytestmark = pytest.mark.realparts
_numbers = itertools.count(1)
STEP_S = 15
FIRST, SECOND = "llama-7d4b9c6f55-abcde", "llama-7d4b9c6f55-fghij"
GAP = (3000, 3600)
LENGTH_S = 4200
MANIFEST = (ROOT / "deploy" / "examples" / "vllm-deployment.yaml").read_text("utf-8")


@dataclass
class Hour:
    """What a service showed for 70 minutes: one pod all the time but for ten minutes without a scrape, another one for 15 minutes."""

    url: str
    manifest: Path
    namespace: str
    start_s: int

    def ready(self, at_s: float) -> list[str]:
        return [FIRST, SECOND] if 1800 <= at_s - self.start_s < 2700 else [FIRST]

    def arguments(self, output: Path, url: str, *more: str) -> list[str]:
        between = ["--from", str(self.start_s), "--to", str(self.start_s + LENGTH_S)]
        return ["record", "--prometheus", url, "-f", str(self.manifest), *between, "-o", str(output), "--chunk", "5m", *more]


def written(namespace: str, start_s: int) -> list[Any]:
    def pod(name: str, times: range) -> list[Any]:
        def series(metric: str, value: Callable[[int], float], **labels: str) -> Any:
            identity = {
                "__name__": metric,
                "namespace": namespace,
                "pod": name,
                "job": "models",
                "instance": f"{name}:8000",
                **labels,
            }
            return identity, [(float(start_s + at_s - 2), value(at_s)) for at_s in times if not GAP[0] <= at_s < GAP[1]]

        return [
            series("vllm:num_requests_waiting", lambda _: 3.0),
            series("vllm:num_requests_running", lambda at_s: 5.0 + (at_s // STEP_S) % 4),
            series("vllm:request_success_total", lambda at_s: 2.0 * at_s, finished_reason="stop"),
            series("vllm:request_queue_time_seconds_bucket", lambda at_s: 1.0 * at_s, le="1.0"),
            series("vllm:request_queue_time_seconds_bucket", lambda at_s: 2.0 * at_s, le="4.0"),
            series("vllm:request_queue_time_seconds_bucket", lambda at_s: 2.0 * at_s, le="+Inf"),
        ]

    return [*pod(FIRST, range(-120, LENGTH_S + 1, STEP_S)), *pod(SECOND, range(1800, 2700, STEP_S))]


@pytest_asyncio.fixture(loop_scope="session")
async def hour(prometheus: PrometheusServer, tmp_path: Path) -> Hour:
    namespace = f"record-{os.getpid()}-{next(_numbers)}"
    start_s = int(time.time()) // STEP_S * STEP_S - 3 * 3600
    await prometheus.write(written(namespace, start_s))
    manifest = tmp_path / "manifest.yaml"
    manifest.write_text(MANIFEST.replace("namespace: models", f"namespace: {namespace}"))
    return Hour(prometheus.url, manifest, namespace, start_s)


@pytest_asyncio.fixture(loop_scope="session")
async def proxy(hour: Hour) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(hour.url) as between:
        yield between


async def run(*arguments: str) -> tuple[int, str]:
    """Exit code and stderr of the command, as a process of its own."""
    process = await start(*arguments)
    _, stderr = await process.communicate()
    return process.returncode or 0, stderr.decode()


async def start(*arguments: str) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(sys.executable, "-m", "replay", *arguments, cwd=ROOT, stdout=pipe, stderr=pipe)


def asked_from(proxy: FaultProxy, after: int = 0) -> list[float]:
    return [float(parse_qs(urlsplit(seen.path_qs).query)["start"][0]) for seen in proxy.requests[after:]]


async def test_a_recording_is_what_the_controller_would_have_read(hour: Hour, tmp_path: Path) -> None:
    output = tmp_path / "hour.csv.gz"
    code, words = await run(*hour.arguments(output, hour.url))
    assert code == 0, words
    assert "never recorded: " in words
    assert "ttft_s" in words
    trace = read_any(output)
    assert not isinstance(trace, SignalSeries)  # it holds a demand
    from replay.traces.registry import NO_PICKS, format_of

    form = format_of(output)
    assert form.signals is not None
    found = form.signals(output, NO_PICKS)
    assert (found.start_s, found.step_s, len(found)) == (hour.start_s, STEP_S, LENGTH_S // STEP_S + 1)
    index = PodsInMemory()
    fleet = a_fleet([a_service("llama", Signals(), hour.namespace)])
    names = ("demand", "queue", "running", "queue_wait_s")
    compared = 0
    # Not within a minute after pods come and go: the controller knows by their readiness what the recording tells by their samples.
    for place in (8, 60, 100, 130, 150, 199, 202, 203, 206, 230, 246, 270):
        at_s = hour.start_s + place * STEP_S
        source = a_source(hour.url, index, namespaces=(hour.namespace,))
        index.set({(hour.namespace, pod): 0 for pod in hour.ready(at_s)})
        readings = await source.read(fleet, wanted(fleet, *names), float(at_s), 10.0)
        await source.close()
        for name in names:
            column = readings.signals[name]
            live = column.values[0] if column.state[0] == KNOWN else np.nan
            if name == "queue_wait_s" and column.state[0] != KNOWN:
                continue  # unknown and idle are both a gap
            np.testing.assert_allclose(found.signals[name][place], live, rtol=1e-6, err_msg=f"{name} at {place}")
            compared += int(live == live)
    assert compared > 25


async def test_a_gap_stays_a_gap_and_pods_are_added_up(hour: Hour, tmp_path: Path) -> None:
    output = tmp_path / "hour.jsonl"
    assert (await run(*hour.arguments(output, hour.url)))[0] == 0
    form_signals = load(output)
    queue = form_signals["queue"]
    assert set(queue[10:119].tolist()) == {3.0}
    assert set(queue[122:178].tolist()) == {6.0}
    # The last sample lies 17 s before the gap's first moment; 60 s after it, it is stale, and no carrying on for five minutes.
    first = GAP[0] // STEP_S
    assert not np.isnan(queue[: first + 3]).any()
    assert np.isnan(queue[first + 4 : GAP[1] // STEP_S]).all()
    assert not np.isnan(queue[GAP[1] // STEP_S + 1 :]).any()
    demand = form_signals["demand"]
    np.testing.assert_allclose(demand[130:170], 4.0, atol=0.2)
    np.testing.assert_allclose(np.nanmean(demand[10:119]), 2.0, atol=0.05)


def load(path: Path) -> dict[str, Any]:
    from replay.traces.registry import NO_PICKS, format_of

    form = format_of(path)
    assert form.signals is not None
    return dict(form.signals(path, NO_PICKS).signals)


async def test_a_recording_goes_on_where_prometheus_went_away(hour: Hour, proxy: FaultProxy, tmp_path: Path) -> None:
    whole, again = tmp_path / "whole.csv", tmp_path / "again.csv"
    assert (await run(*hour.arguments(whole, proxy.url)))[0] == 0
    asked = len(proxy.requests)
    proxy.requests.clear()
    proxy.rule = lambda _request: Answer(status=500, body=b"no") if len(proxy.requests) > asked // 2 else None
    code, words = await run(*hour.arguments(again, proxy.url))
    assert code == 3
    assert "HTTP Status Code 500" in words
    assert "moments are recorded; the same command goes on from there" in words
    assert not again.exists()
    proxy.rule = lambda _request: None
    broken = len(proxy.requests)
    code, words = await run(*hour.arguments(again, proxy.url))
    assert code == 0, words
    assert "going on after" in words
    assert min(asked_from(proxy, broken)) > hour.start_s + LENGTH_S // 3
    assert again.read_bytes() == whole.read_bytes()
    assert [path.name for path in tmp_path.iterdir() if ".part." in path.name] == []


async def test_a_recording_that_is_killed_goes_on_after_its_last_whole_line(
    hour: Hour, proxy: FaultProxy, tmp_path: Path
) -> None:
    whole, again = tmp_path / "whole.csv", tmp_path / "again.csv"
    assert (await run(*hour.arguments(whole, proxy.url)))[0] == 0
    half = len(proxy.requests) // 2
    proxy.requests.clear()
    hanging = asyncio.Event()
    answered = 0

    def rule(_request: Any) -> Fault | None:
        nonlocal answered
        answered += 1
        if answered <= half:
            return None
        hanging.set()
        return Hang()

    proxy.rule = rule
    process = await start(*hour.arguments(again, proxy.url))
    await asyncio.wait_for(hanging.wait(), 60)
    process.kill()
    await process.wait()
    part = tmp_path / "again.csv.part.csv"
    kept = part.read_bytes()
    assert kept.count(b"\n") > 60
    part.write_bytes(kept + b"17000")  # as if the power had gone in the middle of a line
    proxy.rule = lambda _request: None
    code, words = await run(*hour.arguments(again, proxy.url))
    assert (code, "going on after" in words) == (0, True), words
    assert again.read_bytes() == whole.read_bytes()


async def test_a_range_that_is_too_much_at_once_is_asked_for_in_smaller_chunks(
    hour: Hour, proxy: FaultProxy, tmp_path: Path
) -> None:
    def rule(request: Any) -> Fault | None:
        span_s = float(request.query["end"]) - float(request.query["start"])
        return (
            Answer(status=422, body=b'{"error":"query processing would load too many samples into memory"}')
            if span_s > 400
            else None
        )

    proxy.rule = rule
    whole, small = tmp_path / "whole.csv", tmp_path / "small.csv"
    assert (await run(*hour.arguments(small, proxy.url, "--chunk", "1h")))[0] == 0
    assert (await run(*hour.arguments(whole, hour.url)))[0] == 0
    assert small.read_bytes() == whole.read_bytes()


async def test_another_recording_under_the_same_name_is_refused_unless_it_is_begun_anew(
    hour: Hour, proxy: FaultProxy, tmp_path: Path
) -> None:
    output = tmp_path / "t.csv"
    assert (await run(*hour.arguments(tmp_path / "whole.csv", proxy.url)))[0] == 0
    asked = len(proxy.requests)
    proxy.requests.clear()
    proxy.rule = lambda _request: Answer(status=500) if len(proxy.requests) > asked // 2 else None
    assert (await run(*hour.arguments(output, proxy.url)))[0] == 3
    proxy.rule = lambda _request: None
    code, words = await run(*hour.arguments(output, proxy.url, "--step", "30s"))
    assert (code, "a recording of something else was begun here" in words) == (2, True), words
    assert (await run(*hour.arguments(output, proxy.url, "--step", "30s", "--restart")))[0] == 0
    assert read_trace(output).bin_s == 30.0


async def test_credentials_of_the_configuration_file_are_shown_and_never_said(
    hour: Hour, proxy: FaultProxy, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    config = tmp_path / "config.yaml"
    config.write_text(
        f"prometheus: {{url: '{proxy.url}', credentials: {{bearerTokenFile: '{token}', headers: {{X-Scope-OrgID: team-a}}}}}}"
    )
    shown = []

    def rule(request: Any) -> Fault | None:
        shown.append((request.headers.get("Authorization"), request.headers.get("X-Scope-OrgID")))
        return None if len(shown) < 5 else Answer(status=401, body=b"go away")

    proxy.rule = rule
    arguments = [part for part in hour.arguments(tmp_path / "t.csv", "") if part not in ("--prometheus", "")]
    code, words = await run(*arguments, "--config", str(config))
    assert set(shown) == {("Bearer s3cret", "team-a")}
    assert (code, "401" in words, "s3cret" in words) == (3, True, False)
    token.unlink()
    code, words = await run(*arguments, "--config", str(config))
    assert (code, "can't be read" in words) == (3, True)


async def test_own_promql_is_recorded_confined_and_its_stale_samples_are_gaps(hour: Hour, tmp_path: Path) -> None:
    text = hour.manifest.read_text()
    hour.manifest.write_text(
        text.replace(
            "presets: [vllm, dcgm]",
            "presets: [vllm]\n    queries: [{signal: queue, query: 'sum(vllm:num_requests_waiting) * 2'}]",
        )
    )
    output = tmp_path / "own.csv"
    code, words = await run(*hour.arguments(output, hour.url))
    assert code == 0, words
    found = load(output)
    assert "demand" in found
    assert set(found["queue"][10:119].tolist()) == {6.0}
    first = GAP[0] // STEP_S
    assert np.isnan(found["queue"][first + 4 : GAP[1] // STEP_S]).all()


async def test_where_its_pods_show_nothing_the_gateway_s_requests_are_recorded(
    hour: Hour, prometheus: PrometheusServer, tmp_path: Path
) -> None:
    labels = {"exported_namespace": hour.namespace, "exported_service": "llama", "job": "ingress", "instance": "proxy-1:10254"}
    times = range(0, LENGTH_S + 1, STEP_S)
    samples = [(float(hour.start_s + at_s - 2), 4.0 * at_s) for at_s in times]
    await prometheus.write([({"__name__": "nginx_ingress_controller_requests", **labels}, samples)])
    hour.manifest.write_text(
        hour.manifest.read_text().replace("presets: [vllm, dcgm]", "presets: [vllm]\n    gateway: {preset: nginx}")
    )
    output = tmp_path / "gateway.csv"
    code, words = await run(*hour.arguments(output, hour.url))
    assert code == 0, words
    found = load(output)
    quiet = slice(GAP[0] // STEP_S + 6, GAP[1] // STEP_S - 1)
    np.testing.assert_allclose(found["demand"][quiet], 4.0, rtol=1e-3)
    assert np.isnan(found["queue"][quiet]).all(), "of which this gateway tells nothing"
    assert (found["demand"][20:100] < 3.5).all(), "its pods' own demand, while they show it"


async def test_a_service_that_prometheus_knows_nothing_of_is_said(hour: Hour, tmp_path: Path) -> None:
    hour.manifest.write_text(hour.manifest.read_text().replace("name: llama", "name: nobody"))
    code, words = await run(*hour.arguments(tmp_path / "t.csv", hour.url))
    assert (code, "holds nothing of" in words) == (3, True)
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.yaml"]


async def test_the_example_of_help_works_on_a_prometheus(prometheus: PrometheusServer, tmp_path: Path) -> None:
    """As printed, but for the address: week.csv.gz of a service that is there."""
    start_s = int(time.time()) // STEP_S * STEP_S - 2 * 3600
    await prometheus.write(written("models", start_s))
    line = CliRunner().invoke(main, ["record", "--help"]).output.partition("Example:")[2].split("replay ", 1)[1]
    words = line.replace("http://127.0.0.1:9090", prometheus.url).replace("build/", f"{tmp_path}/").split()
    code, said = await run(*words)
    assert code == 0, said
    assert read_trace(tmp_path / "week.csv.gz").span_s == pytest.approx(7 * 86400, abs=30)


@pytest.mark.parametrize(
    ("text", "at_s"),
    [("now", 1000.0), ("-1m30s", 910.0), ("1700000000", 1.7e9), ("1700000000.5", 1700000000.5), ("1970-01-01T00:00:10Z", 10.0)],
)
def test_moments(text: str, at_s: float) -> None:
    assert moment("--from", text, 1000.0) == at_s


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        (["--from", "yesterday"], 2, "--from yesterday: is no moment"),
        (["--from", "-3q"], 2, "--from -3q: is no moment"),
        (["--step", "500ms"], 2, "--step 500ms: whole seconds"),
        (["--from", "now"], 2, "holds fewer than two moments"),
        (["--service", "models/other"], 2, "holds models/llama; say which with --service (is: models/other)"),
        (["--prometheus", "http://user:secret@host"], 2, "without credentials"),
        (["--prometheus", "http://127.0.0.1:1"], 3, "can't be reached"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, change: list[str], code: int, words: str) -> None:
    given = {
        "--prometheus": "http://127.0.0.1:1",
        "--from": "-1h",
        "--to": "now",
        "-f": str(ROOT / "deploy" / "examples" / "vllm-deployment.yaml"),
        "-o": str(tmp_path / "t.csv"),
        change[0]: change[1],
    }
    result = CliRunner().invoke(main, ["record", *(part for pair in given.items() for part in pair)])
    assert (result.exit_code, words in result.stderr) == (code, True), result.stderr
    assert "secret@" not in result.stderr
    assert list(tmp_path.iterdir()) == []  # nothing is left of a recording of nothing


def test_one_of_several_services_is_named() -> None:
    manifests = load_manifests([ROOT / "deploy" / "examples" / name for name in ("vllm-deployment.yaml", "statefulset.yaml")], {})
    keys = [f"{one.metadata.namespace}/{one.metadata.name}" for one in manifests]
    assert service_of(manifests, keys[1]).key == keys[1]
    with pytest.raises(Exception, match="say which with --service"):
        service_of(manifests, None)
