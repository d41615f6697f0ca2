"""docs/node-pools.md: its manifests are valid, here and on the real API server; every backend, component and reason is in it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import yaml

from autoscaler.adapters.nodepools.reasons import PoolReason
from autoscaler.manifests import load_manifests
from autoscaler.plugins import load_policies
from autoscaler.spec import AcceleratorPool, PoolBackend
from tests.conftest import ROOT
from tests.installed_crds import install_crds
from tests.realparts.control_plane import ControlPlane

PAGE = (ROOT / "docs" / "node-pools.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.M | re.S)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_an_example_is_valid(number: int, tmp_path: Path) -> None:
    file = tmp_path / "pool.yaml"
    file.write_text(BLOCKS[number], encoding="utf-8")
    assert load_manifests([file], policies=load_policies())


def test_every_backend_has_an_example(tmp_path: Path) -> None:
    file = tmp_path / "pool.yaml"
    seen = set()
    for block in BLOCKS:
        file.write_text(block, encoding="utf-8")
        seen |= {found.spec.backend.type for found in load_manifests([file]) if isinstance(found, AcceleratorPool)}
    assert seen == set(get_args(get_type_hints(PoolBackend)["type"])) - {"DryRun"}


def test_every_component_and_reason_is_told() -> None:
    components = {folder.name for folder in (ROOT / "deploy" / "components").glob("nodepool-*")}
    assert components == set(re.findall(r"`(nodepool-[a-z-]+)`", PAGE))
    assert not [reason for reason in PoolReason if f"`{reason}`" not in PAGE]


@pytest.mark.realparts
async def test_the_api_server_takes_the_examples(control_plane: ControlPlane) -> None:
    await install_crds(control_plane)
    for block in BLOCKS:
        done = await control_plane.kubectl("apply", "--server-side", "--dry-run=server", "-f", "-", input=block)
        assert (done.code, done.err) == (0, ""), block


@pytest.mark.realparts
@pytest.mark.parametrize("folder", sorted((ROOT / "deploy" / "components").glob("nodepool-*")), ids=lambda folder: folder.name)
async def test_the_api_server_takes_the_components(control_plane: ControlPlane, folder: Path) -> None:
    """Each alone on the base, with a reason beside every verb."""
    done = await control_plane.kubectl("apply", "--server-side", "-k", str(ROOT / "deploy" / "base"))
    assert not done.code, done.err
    try:
        done = await control_plane.kubectl("apply", "--server-side", "-k", str(folder))
        assert (done.code, done.err) == (0, "")
    finally:
        await control_plane.kubectl("delete", "-k", str(folder), "--ignore-not-found", "--wait=false")
    rules = folder / "rbac.yaml"
    if not rules.is_file():  # no rights of its own: nor in any other file
        granted = [
            item["kind"] for file in folder.glob("*.yaml") for item in yaml.safe_load_all(file.read_text(encoding="utf-8"))
        ]
        assert not {kind for kind in granted if "Role" in kind}
        return
    text = rules.read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if re.match(r"\s+- (get|list|watch|create|update|patch|delete)\b", line)]
    assert lines
    assert all(" # " in line for line in lines)
    verbs = [verb for role in yaml.safe_load_all(text) for rule in role.get("rules", ()) for verb in rule["verbs"]]
    assert len(verbs) == len(lines)
