"""deploy/ on the real API server: every object is taken, the pods keep the restricted profile, the components grant what they say."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from autoscaler.adapters.prometheus.configured import prometheus_settings
from autoscaler.adapters.prometheus.credentials import CredentialPlaces, FromFile
from autoscaler.configuration import load_configuration
from tests.conftest import ROOT
from tests.e2e.audit import rights
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
    for file in DEPLOY.rglob("kustomization.yaml"):
        kustomization = yaml.safe_load(file.read_text(encoding="utf-8"))
        named = set(kustomization.get("resources", []))
        named |= {patch["path"] for patch in kustomization.get("patches", []) if "path" in patch}
        named |= {name for made in kustomization.get("configMapGenerator", []) for name in made["files"]}
        beside = {path.name for path in file.parent.glob("*.yaml")} - {"kustomization.yaml"}
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


async def test_the_overlay_for_a_first_installation_adds_image_and_prometheus_to_the_base(control_plane: ControlPlane) -> None:
    await applied(control_plane, "base")
    # Tried, not kept: other tests stand on the base.
    items = await applied(control_plane, "examples/install", "--dry-run=server")
    (deployment,) = (item for item in items if item["kind"] == "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == "registry.example.com/inference-autoscaler:0.1.0"
    given = (
        item for item in items if item["kind"] == "ConfigMap" and item["metadata"]["name"].startswith(f"{SYSTEM}-prometheus-")
    )
    (configuration,) = given
    assert {"name": configuration["metadata"]["name"], "defaultMode": 420} in [
        volume.get("configMap") for volume in pod["volumes"]
    ]
    # What the container is started with is what the controller reads there.
    (mount,) = (mount for mount in container["volumeMounts"] if mount["name"] == "prometheus")
    assert f"--config={mount['mountPath']}/{next(iter(configuration['data']))}" in container["args"]
    assert not [word for word in container["args"] if word.startswith("--prometheus")], "it would override the file's URL"


def test_what_the_overlay_holds_as_a_comment_is_right_once_the_signs_are_off(tmp_path: Path) -> None:
    text = (DEPLOY / "examples" / "install" / "prometheus.yaml").read_text(encoding="utf-8")
    file = tmp_path / "prometheus.yaml"
    file.write_text(text)
    assert prometheus_settings(load_configuration(file), None, ()).default.credentials == CredentialPlaces()
    file.write_text(re.sub(r"^  # ( *(?:credentials|\w+File|headers):)", r"  \1", text, flags=re.M))
    found = prometheus_settings(load_configuration(file), None, ()).default.credentials
    assert (found.bearer_token, found.ca) == (FromFile("/etc/prometheus/token"), FromFile("/etc/prometheus/ca.crt"))
    assert list(found.headers) == ["X-Scope-OrgID"]


async def test_the_overlay_s_further_port_opens_the_network_policy(control_plane: ControlPlane, tmp_path: Path) -> None:
    for name in ("base", "crds", "examples"):
        shutil.copytree(DEPLOY / name, tmp_path / name)
    file = tmp_path / "examples" / "install" / "kustomization.yaml"
    text = file.read_text(encoding="utf-8")
    file.write_text(re.sub(r"^  # ( *(?:- target|patch|- \{op))", r"  \1", text, flags=re.M))
    done = await control_plane.kubectl("kustomize", str(file.parent))
    assert not done.code, done.err
    (policy,) = (item for item in yaml.safe_load_all(done.out) if item["kind"] == "NetworkPolicy")
    assert {"port": 8080, "protocol": "TCP"} in [port for rule in policy["spec"]["egress"] for port in rule["ports"]]


async def test_beside_keda_everything_is_there_but_the_apiservice(control_plane: ControlPlane) -> None:
    """docs/migrating-from-keda.md applies it while KEDA owns the group: an APIService in it would cut off every HPA."""
    beside = await rendered(control_plane, "examples/migrating-from-keda")
    alone = await rendered(control_plane, "examples/external-metrics")
    assert [item for item in alone if item["kind"] == "APIService"]
    assert not [item for item in beside if item["kind"] == "APIService"]
    kinds = {(item["kind"], item["metadata"]["name"]) for item in alone if item["kind"] != "APIService"}
    assert kinds <= {(item["kind"], item["metadata"]["name"]) for item in beside}
    (deployment,) = (item for item in beside if item["metadata"]["name"].endswith("-metrics") and item["kind"] == "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert f"--upstreams={mounts['upstreams']}/upstreams.yaml" in container["args"]
    maps = {volume["name"]: volume.get("configMap", {}).get("name") for volume in pod["volumes"]}
    (given,) = (item for item in beside if item["kind"] == "ConfigMap" and item["metadata"]["name"] == maps["upstreams"])
    (upstream,) = yaml.safe_load(given["data"]["upstreams.yaml"])["upstreams"]
    assert upstream["caFile"] == f"{mounts['keda-ca']}/keda-ca.crt"
    assert maps["keda-ca"] == "keda-ca"


async def rendered(control_plane: ControlPlane, folder: str) -> list[dict[str, Any]]:
    done = await control_plane.kubectl("kustomize", str(DEPLOY / folder))
    assert not done.code, done.err
    return [item for item in yaml.safe_load_all(done.out) if item]


async def test_some_namespaces_only_takes_the_cluster_wide_rights_away(control_plane: ControlPlane) -> None:
    """What comes of it under these rights alone: tests/e2e/test_i_namespaces.py."""
    await applied(control_plane, "base")
    teams = ("team-a", "team-b")
    for team in teams:
        await control_plane.create_namespace(team)
    try:
        items = await applied(control_plane, "examples/some-namespaces", "--dry-run=server")
    finally:
        for team in teams:
            await control_plane.delete_namespace(team)
    wide = [item for item in items if item["kind"] == "ClusterRole"]
    assert [item["metadata"]["name"] for item in wide] == [SYSTEM]
    assert [rule["resources"] for rule in wide[0]["rules"]] == [["acceleratorpools"], ["nodes"]]
    assert [item["metadata"]["name"] for item in items if item["kind"] == "ClusterRoleBinding"] == [SYSTEM]
    for kind in ("Role", "RoleBinding"):
        assert sorted(item["metadata"]["namespace"] for item in items if item["kind"] == kind) == [SYSTEM, *teams]
    (deployment,) = (item for item in items if item["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert [word for word in container["args"] if "namespace" in word] == [f"--namespace={team}" for team in teams]


def test_a_namespace_s_rights_are_the_base_s_without_the_pools() -> None:
    """The same verbs in one namespace as the base has in all: a right that is added there is added here."""

    def rules(*files: str) -> set[tuple[str, str, str]]:
        documents = [document for file in files for document in yaml.safe_load_all((DEPLOY / file).read_text(encoding="utf-8"))]
        wanted = [document for document in documents if document["kind"] in ("ClusterRole", "Role")]
        wanted = [document for document in wanted if document["metadata"].get("namespace") != SYSTEM and "rules" in document]
        return {right for document in wanted for right in rights(document)}

    everywhere = rules("base/rbac.yaml")
    pools = {right for right in everywhere if right[1].startswith("acceleratorpools") or right[1] == "nodes"}
    assert len(pools) == 5
    assert rules("components/watched-namespace/rbac.yaml") == everywhere - pools
    assert rules("components/some-namespaces/clusterrole.yaml") < pools


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
