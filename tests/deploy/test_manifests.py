"""deploy/ on the real API server: every object is taken, the pods keep the restricted profile, the components grant what they say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT
from tests.installed_crds import install_crds
from tests.realparts.control_plane import ControlPlane

pytestmark = pytest.mark.realparts

DEPLOY = ROOT / "deploy"
SYSTEM = "inference-autoscaler"
ACCOUNT = f"system:serviceaccount:{SYSTEM}:{SYSTEM}"


async def applied(control_plane: ControlPlane, folder: str, *words: str) -> list[dict[str, Any]]:
    """`kubectl apply -k deploy/FOLDER`, as the docs say it; what the server then holds. Warnings are failures."""
    done = await control_plane.kubectl("apply", "--server-side", "-k", str(DEPLOY / folder), "-o", "json", *words)
    assert not done.code, done.err
    assert not done.err
    answer = json.loads(done.out)
    items: list[dict[str, Any]] = answer["items"] if answer["kind"] == "List" else [answer]
    return items


async def may(control_plane: ControlPlane, verb: str, resource: str, **further: str) -> bool:
    """Whether the controller's account may do this; further: group, subresource, namespace, name."""
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": ACCOUNT, "resourceAttributes": {"verb": verb, "resource": resource, **further}},
    }
    answer = await control_plane.api.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
    return bool(answer["status"]["allowed"])


def test_every_file_belongs_to_a_kustomization() -> None:
    for kustomization in DEPLOY.rglob("kustomization.yaml"):
        named = set(yaml.safe_load(kustomization.read_text(encoding="utf-8"))["resources"])
        beside = {path.name for path in kustomization.parent.glob("*.yaml")} - {"kustomization.yaml"}
        assert beside <= named


async def test_the_base_is_taken_whole_and_its_pods_are_let_in(control_plane: ControlPlane) -> None:
    kinds = sorted(item["kind"] for item in await applied(control_plane, "base"))
    assert {"ConfigMap", "Deployment", "Namespace", "NetworkPolicy", "PodDisruptionBudget", "Service", "ServiceAccount"} <= set(
        kinds
    )
    assert kinds.count("CustomResourceDefinition") == 2
    deployments = f"/apis/apps/v1/namespaces/{SYSTEM}/deployments"
    # The real controller-manager makes the pods; admission would refuse them here if they broke the profile.
    await control_plane.api.until(deployments, lambda found: found[SYSTEM].get("status", {}).get("replicas") == 2)
    pods = (await control_plane.api.get(f"/api/v1/namespaces/{SYSTEM}/pods"))["items"]
    ours = [pod for pod in pods if pod["metadata"].get("labels", {}).get("app.kubernetes.io/component") == "controller"]
    assert len(ours) >= 2


@pytest.mark.parametrize("ways", ["client client", "client server", "server server", "server client"])
async def test_applied_once_more_it_ends_no_pause_and_takes_no_rights(control_plane: ControlPlane, ways: str) -> None:
    first, again = (("apply", f"--server-side={way == 'server'}".lower(), "-k", str(DEPLOY / "base")) for way in ways.split())
    for item in await applied(control_plane, "base"):  # so that the first way is the first one, and nobody else owns a field
        if item["kind"] in ("Deployment", "ConfigMap", "ClusterRole", "Service"):
            await control_plane.kubectl("delete", item["kind"], item["metadata"]["name"], "-n", SYSTEM)
    done = await control_plane.kubectl(*first)
    assert done.code == 0, done.err
    switch = f"/api/v1/namespaces/{SYSTEM}/configmaps/{SYSTEM}"
    role = f"/apis/rbac.authorization.k8s.io/v1/clusterroles/{SYSTEM}-targets"
    await control_plane.until_allowed(ACCOUNT, verb="list", resource="deployments", group="apps")
    rules = (await control_plane.api.get(role))["rules"]
    await control_plane.api.patch(switch, {"data": {"pause": "Both"}})
    try:
        done = await control_plane.kubectl(*again)
        assert done.code == 0, done.err
        assert (await control_plane.api.get(switch))["data"] == {"pause": "Both"}
        assert (await control_plane.api.get(role))["rules"] == rules
    finally:
        await control_plane.api.patch(switch, {"data": {"pause": None}})


async def test_the_namespace_refuses_what_the_restricted_profile_forbids(control_plane: ControlPlane) -> None:
    await applied(control_plane, "base")
    (template,) = (
        document["spec"]["template"]
        for document in yaml.safe_load_all((DEPLOY / "base" / "deployment.yaml").read_text(encoding="utf-8"))
        if document["kind"] == "Deployment"
    )
    del template["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "loose"}, "spec": template["spec"]}
    done = await control_plane.kubectl("create", "--dry-run=server", "-n", SYSTEM, "-f", "-", input=json.dumps(pod))
    assert done.code == 1
    assert 'violates PodSecurity "restricted' in done.err


async def test_a_kind_of_ones_own_becomes_a_target_by_the_component(control_plane: ControlPlane) -> None:
    await applied(control_plane, "base")
    group = "leaderworkerset.x-k8s.io"
    assert not await may(control_plane, "list", "leaderworkersets", group=group)
    try:
        await applied(control_plane, "components/crd-targets")
        # The control plane copies the rule into the aggregated role a moment later.
        await control_plane.until_allowed(ACCOUNT, verb="list", resource="leaderworkersets", group=group)
        assert await may(control_plane, "update", "leaderworkersets", group=group, subresource="scale")
        assert not await may(control_plane, "update", "leaderworkersets", group=group)
    finally:
        await control_plane.kubectl("delete", "-k", str(DEPLOY / "components" / "crd-targets"))
    # Left behind it would be a right that no story uses.
    await control_plane.api.until(
        "/apis/rbac.authorization.k8s.io/v1/clusterroles",
        lambda found: group not in json.dumps(found[f"{SYSTEM}-targets"].get("rules")),
    )


async def test_credentials_are_readable_in_that_namespace_and_by_that_name_only(
    control_plane: ControlPlane, namespace: str
) -> None:
    await applied(control_plane, "base")
    await applied(control_plane, "components/secret-credentials", "-n", namespace)
    await control_plane.until_allowed(ACCOUNT, verb="get", resource="secrets", namespace=namespace, name="prometheus-credentials")
    assert not await may(control_plane, "get", "secrets", name="prometheus-credentials", namespace="default")
    assert not await may(control_plane, "get", "secrets", name="another", namespace=namespace)
    assert not await may(control_plane, "list", "secrets", namespace=namespace)


@pytest.mark.parametrize("file", sorted((DEPLOY / "examples").glob("*.yaml")), ids=lambda file: file.stem)
async def test_an_example_is_served_back_as_it_was_written(control_plane: ControlPlane, namespace: str, file: Path) -> None:
    await install_crds(control_plane)
    for document in yaml.safe_load_all(file.read_text(encoding="utf-8")):
        if document["metadata"].get("namespace"):
            document["metadata"]["namespace"] = namespace
        done = await control_plane.kubectl(
            "apply", "--server-side", "--dry-run=server", "-o", "json", "-f", "-", input=json.dumps(document)
        )
        assert (done.code, done.err) == (0, "")
        assert _holds(json.loads(done.out)["spec"], document["spec"])


def _holds(served: Any, written: Any) -> bool:
    """Whether all that was written is served: nothing was pruned; defaults may have come."""
    if isinstance(written, dict):
        return isinstance(served, dict) and all(key in served and _holds(served[key], written[key]) for key in written)
    if isinstance(written, list):
        return len(served) == len(written) and all(map(_holds, served, written))
    return bool(served == written)
