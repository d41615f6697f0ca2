"""Story g, its second half: what the API server can't refuse ends in a condition; the target and others' objects stay as they are.

(The first half, each refusal by the real API server with a message that names the field: tests/test_invalid_manifests.py.)
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT
from tests.e2e.world import World, autoscaler, deployment

LET_IN = [
    path
    for path in sorted((ROOT / "tests" / "manifests" / "invalid").glob("*.yaml"))
    if "# server: condition" in path.read_text("utf-8").splitlines()
]


def expected_path(file: Path) -> str:
    return next(line.removeprefix("# expect: ") for line in file.read_text("utf-8").splitlines() if line.startswith("# expect: "))


async def test_g_faults_that_only_we_can_see_end_in_a_condition(world: World) -> None:
    assert len(LET_IN) >= 5
    objects, faulty = [], {}
    for number, file in enumerate(LET_IN):
        for part, item in enumerate(yaml.safe_load_all(file.read_text("utf-8"))):
            if item and item.get("kind") == "InferenceAutoscaler":
                item["metadata"] = {"name": f"invalid-{number}-{part}"}
                item["spec"]["mode"] = "Active"
                objects.append(item)
        faulty[objects[-1]["metadata"]["name"]] = file  # of several the last one is one too many
    roles = [deployment(name, 1) for name in ("chat-prefill", "chat-decode")]  # a missing target would be told first
    await world.apply(deployment("llama", 2), *roles, deployment("healthy", 2), autoscaler("healthy"), *objects)
    await world.until_ready("healthy", 2)
    async with world.controller("story-g"), world.traffic("healthy", lambda _at_s: 8.0):
        found = await asyncio.gather(*(world.until_condition(name, "Ready", "False") for name in faulty))
        for file, item in zip(faulty.values(), found, strict=True):
            condition = next(c for c in item["status"]["conditions"] if c["type"] == "Ready")
            if (
                condition["reason"] == "TargetConflict"
            ):  # of two good manifests, so it is no field that is named but the other one
                assert file.name.startswith("two-manifests")
                assert item["metadata"]["name"].removesuffix("1") + "0" in condition["message"]
                continue
            # A role whose ratio can't be is sized alone; all else in its manifest is fine.
            reason = "RoleFault" if file.name.startswith("ratio-") else "InvalidSpec"
            assert condition["reason"] == reason, f"{file.name}: {condition}"
            if reason == "RoleFault":
                assert "'decod'" in condition["message"], condition["message"]
                continue
            field = expected_path(file).removeprefix("spec.").split("[")[0].split(".")[0]
            assert field in condition["message"], f"{file.name}: {condition['message']}"
        await world.until_replicas("healthy", lambda count: count >= 4)
    assert await world.replicas("llama") == 2
    assert not world.scale_writes("llama")


async def test_g_mending_the_manifest_is_enough(world: World) -> None:
    await world.apply(deployment("llama", 2), autoscaler("llama", policies=[{"name": "crystal-ball"}]))
    await world.until_ready("llama", 2)
    async with world.controller("story-g-mended"), world.traffic("llama", lambda _at_s: 8.0):
        await world.until_condition("llama", "Ready", "False", "InvalidSpec")
        await world.apply(autoscaler("llama"))
        await world.until_replicas("llama", lambda count: count >= 4)


@pytest.mark.parametrize("direction", ["true", "up"])
async def test_one_switch_pauses_the_whole_cluster(world: World, direction: str) -> None:
    await world.apply(deployment("llama", 2), autoscaler("llama"))
    await world.until_ready("llama", 2)
    switch = "/api/v1/namespaces/inference-autoscaler/configmaps/inference-autoscaler"
    await world.control_plane.api.patch(switch, {"data": {"pause": direction, "reason": "an incident"}})
    try:
        async with world.controller(f"story-pause-{direction}"), world.traffic("llama", lambda _at_s: 8.0):
            item = await world.until_status(
                "llama", lambda item: any(limit["name"] == "Paused" for limit in item["status"].get("limits", []))
            )
            assert any("an incident" in limit["why"] for limit in item["status"]["limits"])
            assert not world.scale_writes("llama")
            await world.control_plane.api.patch(switch, {"data": {"pause": ""}})
            await world.until_replicas("llama", lambda count: count >= 4)
    finally:
        await world.control_plane.api.patch(switch, {"data": {"pause": "", "reason": None}})
