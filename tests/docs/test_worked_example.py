"""docs/worked-example.md on a real Prometheus: a week of a vLLM service is written into it, then every command runs as printed, in order."""

from __future__ import annotations

import asyncio
import re
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from replay.traces.registry import read_trace
from tests.conftest import ROOT
from tests.docs.pages import shell_lines
from tests.realparts.prometheus_server import PrometheusServer

PAGE = ROOT / "docs" / "worked-example.md"
STEP_S, DAY_S = 60, 86400


def week(start_s: int, end_s: int) -> list[Any]:
    """Two pods that are asked 2 … 22 times a second, by the time of day; one scrape a minute."""
    times_s = np.arange(start_s, end_s, STEP_S)
    rates = 6 - 5 * np.cos(times_s * (2 * np.pi / DAY_S))
    done = np.cumsum(rates * STEP_S)
    found = []
    for pod in ("llama-6f7c9d5b84-x2x4x", "llama-6f7c9d5b84-z7z9z"):
        where = {"namespace": "models", "pod": pod, "instance": f"{pod}:8000", "job": "vllm"}
        for name, values in (
            ("vllm:request_success_total", done),
            ("vllm:num_requests_running", rates * 10),
            ("vllm:num_requests_waiting", np.zeros(len(times_s))),
        ):
            found.append(({"__name__": name, **where}, list(zip(times_s.tolist(), values.tolist(), strict=True))))
    return found


async def ran(command: str, folder: Path) -> tuple[int, str, str]:
    words = [sys.executable, "-m", *shlex.split(command)]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*words, cwd=folder, stdout=pipe, stderr=pipe)
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


@pytest.mark.realparts
async def test_the_worked_example_works(prometheus: PrometheusServer, tmp_path: Path) -> None:
    now_s = int(time.time())
    for one in week(now_s - 7 * DAY_S - 600, now_s):
        await prometheus.write([one])
    for name in ("deploy", "replay"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "build").mkdir()
    gate = re.search(r"```yaml\n(.*?)```", PAGE.read_text("utf-8"), re.S)
    assert gate is not None
    (tmp_path / "build" / "week-gate.yaml").write_text(gate[1])
    # The service's servers are scraped once a minute here, so rates look back over four of those.
    config = tmp_path / "prometheus.yaml"
    config.write_text(f"prometheus: {{url: '{prometheus.url}', scrapeInterval: 60s}}")
    for command in shell_lines(PAGE):
        at_home = command.replace("--prometheus http://127.0.0.1:9090", f"--config {config}")
        code, out, err = await ran(at_home, tmp_path)
        assert code == 0, f"{command}\n{out}\n{err}"
        if " inspect " in command:
            assert "the time of day explains 100%" in out or "the time of day explains 99%" in out, out
    trace = read_trace(tmp_path / "build" / "week.csv.gz")
    assert trace.span_s == pytest.approx(7 * DAY_S, abs=60)
    assert np.nanmean(trace.rates_per_s) == pytest.approx(12, rel=0.02)
    assert np.isnan(trace.counts).mean() < 0.01
    score = orjson.loads((tmp_path / "build" / "week" / "score.json").read_bytes())
    assert score["attained_ratio"] > 0.99
    tuned = (tmp_path / "build" / "week-tuned.yaml").read_text("utf-8")
    assert tuned.startswith("# Tuned by replay tune")
    assert "trace week (sha256 " in tuned
    # The gate bites: half the allowed hours, and the line that is missed is named.
    strict = gate[1].replace("max: 4000", "max: 100")
    (tmp_path / "build" / "week-gate.yaml").write_text(strict)
    code, out, err = await ran(shell_lines(PAGE)[-1], tmp_path)
    assert code == 1
    assert "week-gate.yaml:4" in out + err
