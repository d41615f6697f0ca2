"""Requests, errors that can be told apart, discovery."""

from __future__ import annotations

import time

import pytest

from autoscaler.adapters.kubernetes.api_error import ApiError
from autoscaler.adapters.kubernetes.discovery import Discovery, Resource
from tests.contract.kubernetes.conftest import CALL_S, WIDGETS, Server

CONFIG_MAPS = Resource(group="", version="v1", plural="configmaps", kind="ConfigMap")


async def test_missing_existing_and_stale_are_told_apart(server: Server) -> None:
    with pytest.raises(ApiError) as missing:
        await server.get(CONFIG_MAPS, "not-there")
    assert missing.value.not_found
    assert missing.value.reason == "NotFound"

    made = await server.create(CONFIG_MAPS, {"metadata": {"name": "one"}, "data": {"a": "1"}})
    with pytest.raises(ApiError) as twice:
        await server.create(CONFIG_MAPS, {"metadata": {"name": "one"}})
    assert twice.value.conflict
    assert twice.value.reason == "AlreadyExists"

    await server.patch(CONFIG_MAPS, "one", {"data": {"a": "2"}})
    path = CONFIG_MAPS.path(server.namespace, "one")
    with pytest.raises(ApiError) as stale:
        await server.api.request("PUT", path, body={**made, "data": {"a": "3"}}, timeout_s=CALL_S)
    assert stale.value.conflict
    assert stale.value.reason == "Conflict"
    assert (await server.get(CONFIG_MAPS, "one"))["data"] == {"a": "2"}


async def test_a_write_that_changes_nothing_makes_no_new_version(server: Server) -> None:
    made = await server.create(CONFIG_MAPS, {"metadata": {"name": "same"}, "data": {"a": "1"}})
    again = await server.patch(CONFIG_MAPS, "same", {"data": {"a": "1"}})
    assert again["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


async def test_the_status_subresource_takes_the_status_and_leaves_the_rest(server: Server) -> None:
    await server.create(
        WIDGETS, {"apiVersion": "contract.test/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"size": 2}}
    )
    patched = await server.patch(WIDGETS, "w", {"spec": {"size": 9}, "status": {"selector": "app=w"}}, "status")
    assert (patched["spec"]["size"], patched["status"]["selector"]) == (2, "app=w")
    assert patched["metadata"]["generation"] == 1
    patched = await server.patch(WIDGETS, "w", {"spec": {"size": 3}, "status": {"selector": "app=x"}})
    assert (patched["spec"]["size"], patched["status"]["selector"]) == (3, "app=w")
    assert patched["metadata"]["generation"] == 2


async def test_discovery_knows_what_can_be_scaled(server: Server) -> None:
    discovery = Discovery(server.api, time.monotonic)
    deployments = await discovery.resolve("apps/v1", "Deployment", CALL_S)
    assert deployments == Resource(group="apps", version="v1", plural="deployments", kind="Deployment", scale=True)
    widgets = await discovery.resolve("contract.test/v1", "Widget", CALL_S)
    assert widgets == WIDGETS
    pods = await discovery.resolve("v1", "Pod", CALL_S)
    assert pods is not None
    assert not pods.scale
    assert await discovery.resolve("apps/v1", "Deploymint", CALL_S) is None
    assert await discovery.resolve("nobody.test/v1", "Thing", CALL_S) is None


async def test_requests_are_counted_in_the_words_of_rbac(server: Server) -> None:
    await server.create(CONFIG_MAPS, {"metadata": {"name": "one"}})
    await server.get(CONFIG_MAPS, "one")
    await server.api.request("GET", CONFIG_MAPS.path(server.namespace), params={"limit": "5"}, timeout_s=CALL_S)
    with pytest.raises(ApiError):
        await server.get(CONFIG_MAPS, "two")
    counted = server.api.requests
    assert counted["create", "configmaps", 201] == 1
    assert counted["get", "configmaps", 200] == 1
    assert counted["get", "configmaps", 404] == 1
    assert counted["list", "configmaps", 200] == 1
