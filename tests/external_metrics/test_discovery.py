"""Discovery and OpenAPI as clients of all ages ask for them."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import get_args

import orjson
import pytest
import pytest_asyncio

from autoscaler.clock import SystemClock
from autoscaler.external_metrics.catalogue import METRICS
from autoscaler.external_metrics.store import Store
from autoscaler.spec import SignalName
from tests.external_metrics.served import Client, served

GROUP, VERSION = "external.metrics.k8s.io", "external.metrics.k8s.io/v1beta1"
V2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
V2BETA1 = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList"


@pytest_asyncio.fixture(loop_scope="session")
async def client() -> AsyncIterator[Client]:
    async with served(Store(SystemClock())) as client:
        yield client


def test_what_exists_is_known_before_any_data() -> None:
    assert {"desired-replicas", "queue-per-replica", "demand-forecast", *get_args(SignalName)} == set(METRICS)
    assert all(name == name.lower() and "/" not in name and "%" not in name for name in METRICS)


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (f"{V2},{V2BETA1},application/json", V2),
        (f"{V2BETA1},application/json", V2BETA1),
        (f"{V2};q=0.5,{V2BETA1}", V2BETA1),
        ("application/json", "application/json"),
        (f"application/json;q=0.9,{V2BETA1};q=0.1", "application/json"),
        ("application/json;g=apidiscovery.k8s.io;v=v3;as=APIGroupDiscoveryList,application/json", "application/json"),
        ("application/vnd.kubernetes.protobuf,*/*", "application/json"),
    ],
)
async def test_apis_in_the_form_that_the_client_prefers(client: Client, accept: str, content_type: str) -> None:
    answer = await client.get("/apis", Accept=accept)
    assert (answer.code, answer.headers["Content-Type"]) == (200, content_type)
    assert answer.headers["Vary"] == "Accept"
    again = await client.get("/apis", Accept=accept, If_None_Match=f'"other", {answer.headers["ETag"]}')
    assert (again.code, again.text) == (304, "")
    assert again.headers["ETag"] == answer.headers["ETag"]
    assert (await client.get("/apis", Accept=accept, If_None_Match='"other"')).code == 200


async def test_the_aggregated_forms_name_every_metric_of_our_own_version(client: Client) -> None:
    for accept, version in ((V2, "v2"), (V2BETA1, "v2beta1")):
        body = orjson.loads((await client.get("/apis", Accept=accept)).text)
        assert (body["kind"], body["apiVersion"]) == ("APIGroupDiscoveryList", f"apidiscovery.k8s.io/{version}")
        (group,) = body["items"]
        assert group["metadata"]["name"] == GROUP
        (only,) = group["versions"]
        assert (only["version"], only["freshness"]) == ("v1beta1", "Current")
        assert [one["resource"] for one in only["resources"]] == list(METRICS)
        assert all(one["verbs"] == ["get"] and one["scope"] == "Namespaced" for one in only["resources"])
        kind = {"group": GROUP, "version": "v1beta1", "kind": "ExternalMetricValueList"}
        assert all(one["responseKind"] == kind for one in only["resources"])


async def test_group_and_resources(client: Client) -> None:
    version = {"groupVersion": VERSION, "version": "v1beta1"}
    group = {"name": GROUP, "versions": [version], "preferredVersion": version}
    assert (await client.get("/apis")).body == {"kind": "APIGroupList", "apiVersion": "v1", "groups": [group]}
    assert (await client.get(f"/apis/{GROUP}/")).body == {"kind": "APIGroup", "apiVersion": "v1", **group}
    resources = (await client.get(f"/apis/{VERSION}")).body
    assert (resources["kind"], resources["groupVersion"]) == ("APIResourceList", VERSION)
    assert [one["name"] for one in resources["resources"]] == list(METRICS)
    assert {tuple(one["verbs"]) for one in resources["resources"]} == {("get",)}


@pytest.mark.parametrize("path", ["/apis", f"/apis/{GROUP}", f"/apis/{VERSION}", "/openapi/v2", "/openapi/v3", "/version"])
async def test_nothing_but_json(client: Client, path: str) -> None:
    answer = await client.get(path, Accept="application/vnd.kubernetes.protobuf")
    assert (answer.code, answer.body["reason"]) == (406, "NotAcceptable")


def test_every_replica_has_the_same_bytes() -> None:
    """A process of its own, with another order of its hashes."""
    program = (
        "from autoscaler.external_metrics import discovery, openapi\n"
        "print(*(one.tag for one in (discovery.RESOURCES, *discovery.AGGREGATED.values(), openapi.V2, openapi.V3, openapi.V3_GROUP)))"
    )
    tags = {
        subprocess.run(
            [sys.executable, "-c", program], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True, text=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(tags) == 1


async def test_openapi_v3(client: Client) -> None:
    listed = await client.get("/openapi/v3")
    url = listed.body["paths"][f"apis/{VERSION}"]["serverRelativeURL"]
    document = await client.get(url)
    tag = hashlib.sha512(document.text.encode()).hexdigest().upper()
    assert document.headers["ETag"] == f'"{tag}"'
    assert url == f"/openapi/v3/apis/{VERSION}?hash={tag}"
    assert document.headers["Cache-Control"] == "public, immutable"
    assert "GMT" in document.headers["Expires"]
    assert document.body["openapi"].startswith("3.")
    assert (await client.get(url, If_None_Match=document.headers["ETag"])).code == 304
    plain = await client.get(f"/openapi/v3/apis/{VERSION}")
    assert (plain.text, plain.headers["Cache-Control"]) == (document.text, "no-cache, private")
    other = await client.get(f"/openapi/v3/apis/{VERSION}?hash=OLD")
    assert (other.code, other.headers["Location"]) == (301, url)
    missing = await client.get("/openapi/v3/apis/apps/v1")
    assert (missing.code, missing.body["reason"]) == (404, "NotFound")


@pytest.mark.parametrize("path", ["/openapi/v2", f"/openapi/v3/apis/{VERSION}"])
async def test_openapi_refers_to_nothing_that_is_not_in_it(client: Client, path: str) -> None:
    document = (
        await client.get(path, Accept="application/com.github.proto-openapi.spec.v2@v1.0+protobuf;q=0.9,application/json;q=0.5")
    ).body
    schemas = document["definitions"] if path.endswith("v2") else document["components"]["schemas"]
    found: list[str] = []

    def look(part: object) -> None:
        if isinstance(part, dict):
            found.extend(value for key, value in part.items() if key == "$ref")
            for value in part.values():
                look(value)
        elif isinstance(part, list):
            for value in part:
                look(value)

    look(document)
    assert {reference.rsplit("/", 1)[1] for reference in found} <= set(schemas)
    assert f"/apis/{VERSION}/namespaces/{{namespace}}/desired-replicas" in document["paths"]
    operations = [path["get"]["operationId"] for path in document["paths"].values()]
    assert len(operations) == len(set(operations)) == len(METRICS) + 1


async def test_version(client: Client) -> None:
    body = (await client.get("/version")).body
    assert body["gitVersion"].startswith(f"v{body['major']}.{body['minor']}")
