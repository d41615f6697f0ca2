"""The CRDs: deploy/ holds what the types say, the schema is structural, and the real API server takes it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from autoscaler.crds import as_yaml, crds
from autoscaler.manifest_rules import RULES
from tests.installed_crds import CRDS, GROUP_PATH, PLURALS, install_crds
from tests.realparts.control_plane import ControlPlane


@pytest.mark.parametrize("definition", crds(RULES), ids=PLURALS)
def test_deploy_holds_what_the_types_say(definition: dict[str, Any]) -> None:
    written = (CRDS / f"{definition['spec']['names']['plural']}.yaml").read_text(encoding="utf-8")
    assert written == as_yaml(definition), "run: autoscaler crds --directory deploy/crds"
    assert yaml.safe_load(written) == definition


def nodes(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema node with its path."""
    yield path, schema
    for name, part in schema.get("properties", {}).items():
        yield from nodes(part, f"{path}.{name}")
    if "items" in schema:
        yield from nodes(schema["items"], f"{path}[]")


@pytest.mark.parametrize("definition", crds(RULES), ids=PLURALS)
def test_every_field_is_typed_bounded_and_described(definition: dict[str, Any]) -> None:
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for path, node in nodes(schema):
        assert not {"$ref", "anyOf", "oneOf", "nullable", "x-kubernetes-int-or-string"} & set(node), path
        assert node.get("type"), f"{path} has no type"
        assert node.get("description") or path.endswith("[]") or path == ".metadata", f"{path} has no description"
        if path.startswith(".spec"):
            assert node["type"] != "array" or "maxItems" in node, f"{path} has no maxItems: rules that walk it can't be costed"
            assert node["type"] != "string" or {"maxLength", "enum", "pattern"} & set(node), f"{path} has no bound"
            assert node["type"] not in ("integer", "number") or {"minimum", "maximum"} <= set(node), f"{path} has no bounds"


@pytest.mark.realparts
async def test_the_api_server_takes_them_and_explains_them(control_plane: ControlPlane) -> None:
    await install_crds(control_plane)
    listed = await control_plane.api.get("/apis/apiextensions.k8s.io/v1/customresourcedefinitions")
    definitions = {item["metadata"]["name"]: item for item in listed["items"]}
    for plural in PLURALS:
        reported = definitions[f"{plural}.inference-autoscaler.io"]["status"]["conditions"]
        assert not [c for c in reported if c["type"] == "NonStructuralSchema" and c["status"] == "True"], reported

    async def explain(path: str) -> str:
        # The API server publishes names and schemas a moment after it has established the definitions.
        async with asyncio.timeout(30):
            while True:
                code, out, err = await control_plane.kubectl("explain", path)
                if code == 0:
                    return out
                assert "doesn't have a resource type" in err or "couldn't find" in err, err
                await asyncio.sleep(0.5)

    out = await explain("ia.spec.behavior")
    for words in ("FIELD: behavior <Object>", "As in HPA v2", "scaleDown\t<Object>", "Window and rate limits for shrinking"):
        assert words in out, out
    assert "DryRun: show the planned number of nodes" in await explain("apool.spec.backend.type")


@pytest.mark.realparts
async def test_kubectl_get_shows_the_columns(control_plane: ControlPlane, namespace: str) -> None:
    await install_crds(control_plane)
    path = f"{GROUP_PATH}/namespaces/{namespace}/inferenceautoscalers"
    manifest = {
        "apiVersion": "inference-autoscaler.io/v1alpha1",
        "kind": "InferenceAutoscaler",
        "metadata": {"name": "llama"},
        "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "llama"}, "maxReplicas": 9},
    }
    await control_plane.api.create(path, manifest)
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "Deciding",
        "message": "",
        "lastTransitionTime": "2026-01-31T06:00:00Z",
    }
    status = {"currentReplicas": 3, "readyReplicas": 2, "desiredReplicas": 4, "reason": "demand rises", "conditions": [ready]}
    await control_plane.api.patch(f"{path}/llama/status", {"status": status})
    code, out, err = await control_plane.kubectl("get", "ia", "-n", namespace)
    assert code == 0, err
    head, row = out.splitlines()
    assert head.split() == ["NAME", "MODE", "TARGET", "CURRENT", "READY", "DESIRED", "REASON", "AGE"]
    assert row.split()[:-1] == ["llama", "Shadow", "llama", "3", "2", "4", "Deciding"]
    code, out, err = await control_plane.kubectl("get", "ia", "-n", namespace, "-o", "wide")
    assert code == 0, err
    assert "demand rises" in out
