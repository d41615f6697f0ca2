"""Story j: what a live controller recorded runs again offline, decision by decision, and tells what other policies would have done."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT
from tests.e2e.world import Controller, World, autoscaler, deployment
from tests.realparts.api import Object


def wave(at_s: float) -> float:
    """1.6 requests/s for 3 s, up to 8 within 8 s, there for 8 s, then back at once."""
    if at_s < 3:
        return 1.6
    if at_s < 11:
        return 1.6 + (at_s - 3) / 8 * 6.4
    return 8.0 if at_s < 19 else 1.6


async def replay(*arguments: str, code: int = 0) -> dict[str, Any]:
    """The document of a replay command, run as a process of its own as a person would."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "replay", *arguments, "--json"),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == code, err.decode()
    document: dict[str, Any] = json.loads(out)
    return document


async def until_services(controller: Controller, count: int) -> None:
    """Until a whole tick of the leader had so many services."""
    async with asyncio.timeout(10):
        while True:
            fleet = await controller.get("/api/fleet")
            if fleet["leading"] and fleet["tick"] is not None and fleet["services"] == count:
                return
            await asyncio.sleep(0.1)  # another process's tick signals nothing


async def test_a_live_controller_s_records_run_again_and_tell_of_other_policies(world: World, tmp_path: Path) -> None:
    """Two services, so that a decision can be taken for another's; one comes later, one goes, the leader is started again in between."""
    llama = autoscaler(
        "llama",
        objective={"signal": "queue_wait_s", "target": "5s", "promised": "99%"},
        policies=[
            {"name": "reactive", "params": {"hold_s": 4}},
            {"name": "target", "params": {"signal": "concurrency", "target": 6}},
        ],
    )
    await world.apply(deployment("llama", 2), deployment("mistral", 2), llama)
    await world.until_ready("llama", 2)
    await world.until_ready("mistral", 2)
    # Enough of a past that `reactive` need not settle first.
    async with world.traffic("llama", wave, past_s=400.0), world.traffic("mistral", lambda _at_s: 3.0, past_s=400.0):
        async with world.controller("story-j") as controller:
            await world.until_replicas("llama", lambda count: count >= 5)
            await world.apply(autoscaler("mistral"))
            await world.until_replicas("mistral", lambda count: count == 3)
        # The same folder again, as after a restart of the pod with a volume.
        async with world.controller("story-j") as controller:
            await until_services(controller, 2)
            await world.until_replicas("llama", lambda count: count <= 2)
            await world.control_plane.api.delete(
                f"/apis/inference-autoscaler.io/v1alpha1/namespaces/{world.namespace}/inferenceautoscalers/mistral"
            )
            await until_services(controller, 1)
    records = controller.records
    verdict = await replay("verify", str(records))
    assert verdict["same"], verdict["differences"]
    assert verdict["differences"] == []
    assert verdict["files"] == 2, "one of each process"
    assert verdict["ticks"] >= 15
    # What was learnt beside a process's first ticks is not in the records, so those can't be run again: each process's first, and each
    # one's first as the leader.
    assert verdict["skipped"] <= 4
    assert verdict["decisions"] > verdict["ticks"], "two services"
    await changed_counts_are_found(records, tmp_path / "changed", f"{world.namespace}/llama")
    await regret_is_told(
        records, manifest_of(llama, world.namespace, tmp_path), tmp_path / "report.html", f"{world.namespace}/llama"
    )


async def changed_counts_are_found(records: Path, changed: Path, key: str) -> None:
    """Two counts of the last file are made other ones: told are those, the first one first."""
    shutil.copytree(records, changed)
    file = sorted(changed.iterdir())[-1]
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    ticks = [number for number, record in enumerate(lines) if record["kind"] == "tick"][-6:-4]
    for number in ticks:
        lines[number]["planned"][0] += 1
    file.write_text("".join(json.dumps(record) + "\n" for record in lines))
    verdict = await replay("verify", str(changed), code=1)
    assert not verdict["same"]
    told = [(Path(one["file"]).name, one["line"], one["service"], one["field"]) for one in verdict["differences"]]
    assert told == [(file.name, number + 1, key, "planned") for number in ticks]
    first = verdict["differences"][0]
    assert first["recorded"] == first["again"] + 1


def manifest_of(item: Object, namespace: str, folder: Path) -> Path:
    """As it was applied, in a file."""
    file = folder / "manifest.yaml"
    file.write_text(yaml.safe_dump({**item, "metadata": {**item["metadata"], "namespace": namespace}}))
    return file


async def regret_is_told(records: Path, manifest: Path, report: Path, key: str) -> None:
    document = await replay(
        "regret", str(records), "-f", str(manifest), "-p", "hpa", "-p", "reactive", "-p", "fixed", "-o", str(report)
    )
    scores = {(score["loop"], score["policy"]): score for score in document["scores"]}
    assert sorted(scores) == [(loop, name) for loop in ("closed", "open") for name in ("fixed", "hpa", "reactive", "what ran")]
    for (loop, _), score in scores.items():
        assert list(score["services"]) == [key]
        assert score["promised_ratio"] == 0.99
        assert score["blind_scale_downs"] == 0
        assert not score.get("missing_signals"), "what the candidates need was recorded"
        assert score["evaluated_s"] == scores[loop, "what ran"]["evaluated_s"] >= 15, "all over the same time"
    ran, beside = scores["closed", "what ran"], scores["open", "what ran"]
    # Both tell what was there; that over the plant also counts what drains.
    assert ran["replica_hours"] == pytest.approx(beside["replica_hours"], rel=0.25)
    assert beside["actions"] >= 4, "up to five and back to two"
    assert ran["attained_ratio"] > 0.9
    # The rates are means over some while, between the wave's 1.6/s and 8/s.
    assert 1.2 < ran["requests"] / ran["evaluated_s"] < 8.0
    # The HPA's usual 22.4 in flight a replica, where the manifest wants 6: it would have asked for less.
    for loop in ("closed", "open"):
        assert scores[loop, "hpa"]["replica_hours"] < scores[loop, "what ran"]["replica_hours"]
        assert scores[loop, "hpa"]["regret_replica_hours"] > 0
    assert scores["open", "hpa"]["blind_ratio"] < 0.1
    # As found: beside the controller that is what was there at each tick.
    assert scores["open", "fixed"]["regret_replica_hours"] == pytest.approx(0, abs=1e-6)
    page = report.read_text()
    assert len(page) < 2_000_000
    assert "@@" not in page
    assert "What other policies would have done" in page
    assert key in page
    assert key in document["notes"][0]
