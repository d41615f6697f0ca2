"""``autoscaler demo`` as people and CI call it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
import yaml

from autoscaler.cli.demo import MANIFEST, NODE_START_S, make_demo
from autoscaler.cli.demo_nodes import NodeStory
from autoscaler.cli.demo_summary import nodes_words
from tests.conftest import ROOT

SCORE_FIELDS = {
    *(
        "schema",
        "trace",
        "policy",
        "promised_ratio",
        "attained_ratio",
        "requests",
        "evaluated_s",
        "warmup_s",
        "wait_s",
        "replica_hours",
    ),
    *(
        "accelerator_hours",
        "node_hours",
        "node_slot_hours",
        "actions",
        "actions_per_h",
        "blind_scale_downs",
        "optimum",
        "cost_ratio",
    ),
    *("forecast", "ticks", "wall_s", "services"),
}
COMMAND = [sys.executable, "-m", "autoscaler", "demo"]


def demo(*arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False)


def score(*arguments: str) -> dict[str, Any]:
    result = demo("--json", "--no-page", *arguments)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_json_is_one_document_with_the_score_of_the_whole_fleet() -> None:
    document = score("--for", "30m")
    assert document.keys() >= SCORE_FIELDS
    assert (document["ticks"], document["evaluated_s"], document["warmup_s"]) == (120, 1800, 0)
    services = document["services"]
    assert len(services) == 3
    assert document["requests"] == pytest.approx(sum(one["requests"] for one in services.values()))
    assert document["replica_hours"] == pytest.approx(sum(one["replica_hours"] for one in services.values()))
    assert 0.9 < document["attained_ratio"] <= 1
    assert document["blind_scale_downs"] == 0
    assert document["actions"] > 0


def test_the_same_seed_gives_the_same_score_and_another_one_does_not() -> None:
    def figures(*arguments: str) -> Any:
        document = score("--for", "20m", *arguments)
        return document["requests"], document["attained_ratio"], document["replica_hours"], document["actions"]

    assert figures() == figures() != figures("--seed", "7")


def test_ten_minutes_are_the_default_and_a_warm_up_is_not_scored() -> None:
    document = score("--warmup", "5m")
    assert (document["ticks"], document["evaluated_s"], document["warmup_s"]) == (40, 300, 300)


def test_the_score_is_readable() -> None:
    result = demo("--no-page", "--for", "10m")
    assert result.returncode == 0, result.stderr
    assert "Kept the promise: " in result.stdout
    assert "requests waited no longer than promised" in result.stdout
    assert "replica-hours" in result.stdout
    assert "assistants/chat-70b" in result.stdout


def test_a_trace_drives_the_first_service(tmp_path: Path) -> None:
    trace = tmp_path / "tiny.csv"
    trace.write_text("offset_s,requests\n" + "".join(f"{60 * minute},{300 + 200 * (minute % 3)}\n" for minute in range(30)))
    document = score("--trace", str(trace), "--for", "20m")
    assert document["trace"] == "tiny"
    result = demo("--no-page", "--trace", str(trace), "--for", "2h")
    assert result.returncode == 2
    assert "longer than the trace tiny" in result.stderr


def test_a_service_without_requests_kept_nothing(tmp_path: Path) -> None:
    trace = tmp_path / "quiet.csv"
    trace.write_text("offset_s,requests\n" + "".join(f"{60 * minute},0\n" for minute in range(6)))
    result = demo("--no-page", "--trace", str(trace), "--for", "5m")
    assert result.returncode == 0, result.stderr
    (row,) = (line.split() for line in result.stdout.splitlines() if "assistants/chat-70b" in line)
    assert row[1:6] == ["none", "–", "99.5", "%", "–"]


def test_own_manifests(tmp_path: Path) -> None:
    text = (ROOT / "replay" / "standard" / "manifest.yaml").read_text()
    (tmp_path / "mine.yaml").write_text(text)
    document = score("-f", str(tmp_path / "mine.yaml"), "--for", "10m")
    assert list(document["services"]) == ["default/standard"]
    (tmp_path / "mine.yaml").write_text(text.replace("maxReplicas: 120", "maxReplicas: many"))
    result = demo("-f", str(tmp_path / "mine.yaml"), "--no-page")
    assert result.returncode == 1
    assert "maxReplicas" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--for", "soon"], "'soon' is not a duration"),
        (["--for", "1s"], "--for"),
        (["--for", "400d"], "--for"),
        (["--speed", "0"], "--speed: 0 is not allowed"),
        (["--speed", "nan"], "--speed"),
        (["--speed", "1e9"], "at most 3600"),
        (["--warmup", "10m", "--for", "10m"], "leaves nothing"),
        (["--listen", "here"], "--listen"),
        (["--listen", "0.0.0.0:8080"], "not on loopback"),
        (["--trace", "ghost.csv"], "ghost.csv"),
        (["-f", "ghost.yaml"], "ghost.yaml"),
        (["--seed", "-1"], "seed"),
    ],
)
def test_wrong_usage_is_said_in_words(arguments: list[str], words: str) -> None:
    result = demo(*arguments)
    assert result.returncode == 2
    assert words in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr


def test_a_taken_port() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = demo("--listen", f"127.0.0.1:{taken.getsockname()[1]}")
    assert result.returncode == 3
    assert "taken by another program" in result.stderr
    assert result.stdout == ""


def fetched(url: str) -> Any:
    for _ in range(200):
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return json.load(answer)
        except OSError:
            time.sleep(0.05)
    raise AssertionError(f"{url} does not answer")


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize("one", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_with_the_score_so_far(one: signal.Signals) -> None:
    port = free_port()
    with subprocess.Popen(
        [*COMMAND, "--json", "--for", "24h", "--speed", "600", "--listen", f"127.0.0.1:{port}"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        for _ in range(200):
            if (fetched(f"http://127.0.0.1:{port}/api/fleet")["tick"] or 0) >= 5:
                break
            time.sleep(0.05)
        process.send_signal(one)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    document = json.loads(out)
    assert 5 <= document["ticks"] < 5000
    assert "Traceback" not in err


def test_it_ends_by_itself_with_the_page() -> None:
    began_s = time.monotonic()
    result = demo("--for", "5m", "--speed", "300", "--json", "--listen", "127.0.0.1:0")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["ticks"] == 20
    assert "The page: http://127.0.0.1:" in result.stderr
    assert time.monotonic() - began_s >= 1.0


async def test_watching_changes_no_decision() -> None:
    """One code, one process, one after the other: with a page that is read from the first tick to the end, and without one."""
    port = free_port()
    world, watched, session = make_demo(None, None, 1200, 0, 0, speed=3600.0)
    running = asyncio.create_task(session.run(("127.0.0.1", port)))
    await asyncio.wait({running, asyncio.create_task(session.controller.ticked.wait())}, return_when=asyncio.FIRST_COMPLETED)
    messages = 0
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:
        query = {"service": "assistants/chat-70b", "since_s": "0"}
        async with http.get("/api/stream", params=query) as stream:
            async for line in stream.content:
                if not line.startswith(b"data: "):
                    continue
                messages += 1
                message = json.loads(line.removeprefix(b"data: "))
                if message["demo"]["finished"]:
                    break
                for path in ("/metrics", "/api/fleet", "/api/services", "/api/services/batch/summaries"):
                    async with http.get(path) as answer:
                        assert answer.status == 200
                        await answer.read()
    await running
    assert messages > 1, "it was watched"
    assert watched.ticks == 80

    quiet, alone, session = make_demo(None, None, 1200, 0, 0, speed=None)
    await session.run(None)
    np.testing.assert_array_equal(watched.at_s, alone.at_s)
    np.testing.assert_array_equal(watched.desired, alone.desired)
    np.testing.assert_array_equal(watched.actions, alone.actions)
    for mine, other in zip(world.plant.wait_counts(), quiet.plant.wait_counts(), strict=True):
        np.testing.assert_array_equal(mine, other)
    assert np.count_nonzero(np.diff(alone.desired, axis=0)) > 2, "there was something to decide"


# ---------------------------------------------------------------- nodes


def story_of(manifest: Path | None, length_s: int) -> NodeStory:
    _, _, session = make_demo(None, manifest, length_s, 0, 0, None)
    asyncio.run(session.run(None))
    return session.story


def test_nodes_are_asked_for_ahead_of_the_ramp() -> None:
    story = story_of(None, 5400)
    ramp = [one for one in story.ahead if one.pool == "h100" and one.needed_s is not None]
    assert ramp, "no node of chat's pool was asked for before its replicas needed it"
    best = max(ramp, key=lambda one: one.needed_s or 0.0)
    assert (best.ahead_s or 0.0) >= NODE_START_S
    assert best.waited_s == 0.0
    assert "ahead of the replicas" in nodes_words(story)


def test_who_foresees_nothing_waits_for_nodes(tmp_path: Path) -> None:
    """Blocks of work under a plain target: the node is asked for when the replicas need it."""
    objects = [
        one
        for one in yaml.safe_load_all(MANIFEST.read_text())
        if one["metadata"]["name"] in ("l40s", "summaries", "chat-70b", "h100")
    ]
    for one in objects:
        if one["kind"] == "InferenceAutoscaler":
            one["spec"]["policies"] = [{"name": "target", "params": {"signal": "concurrency"}}]
    mine = tmp_path / "mine.yaml"
    mine.write_text(yaml.safe_dump_all(objects))
    story = story_of(mine, 5400)
    assert story.behind
    assert not story.ahead
    for one in story.behind:
        assert one.ready_s is None or one.waited_s == pytest.approx(NODE_START_S, abs=15)
    assert "when replicas were waiting already" in nodes_words(story)


def test_the_story_of_the_nodes_is_printed() -> None:
    result = demo("--no-page", "--for", "75m")
    assert result.returncode == 0, result.stderr
    assert "ahead of the replicas" in result.stdout
    (row,) = [line.split() for line in result.stdout.splitlines() if "h100" in line and "no. 4" in line]
    assert row[0] == "h100"
    assert row[-2:] == ["in", "time"]


def test_services_without_a_pool_get_nodes_by_the_rule() -> None:
    world, _, session = make_demo(None, ROOT / "replay" / "standard" / "manifest.yaml", 600, 0, 0, None)
    asyncio.run(session.run(None))
    assert world.pools == ()
    assert world.node_pools is None
    assert session.story.growths == []
