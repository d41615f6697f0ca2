"""Authentication and authorization against the real API server: its tokens, its RBAC, its ConfigMap."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any

import aiohttp
import numpy as np
import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from autoscaler.adapters.kubernetes.api import HttpKubeApi
from autoscaler.adapters.kubernetes.credentials import from_kubeconfig
from autoscaler.clock import ManualClock
from autoscaler.external_metrics import trust as words
from autoscaler.external_metrics.authentication import RequestAuthenticator
from autoscaler.external_metrics.authorization import ReviewedAuthorizer
from autoscaler.external_metrics.tls import ServingTls
from autoscaler.external_metrics.tokens import TokenReviews
from autoscaler.external_metrics.trust import Trust, TrustWatch
from tests.external_metrics.issued import Issued, root
from tests.external_metrics.secured import Answer, Secured, ask
from tests.realparts.certificates import Authority
from tests.realparts.control_plane import ControlPlane

pytestmark = pytest.mark.realparts

RBAC = "/apis/rbac.authorization.k8s.io/v1"
CONFIG_MAP = f"/api/v1/namespaces/{words.NAMESPACE}/configmaps/{words.NAME}"
_names = itertools.count(1)


class Bed:
    """Our server, as a service account with the two rights that such a server is given, before the real API server."""

    def __init__(self, control_plane: ControlPlane, api: HttpKubeApi) -> None:
        self.control_plane = control_plane
        self.clock = ManualClock(time.time())
        tls = ServingTls()
        rng = np.random.default_rng(1)
        self._told = asyncio.Event()

        def admit(pems: Iterable[bytes]) -> None:
            tls.trust(pems)
            self._told.set()

        self.watch = TrustWatch(api, admit=admit, clock=self.clock, rng=rng)
        tokens = TokenReviews(api, clock=self.clock, rng=rng)
        self.authenticator = RequestAuthenticator(trust=lambda: self.watch.current, tokens=tokens, clock=self.clock)
        self.authorizer = ReviewedAuthorizer(api, clock=self.clock, rng=rng)
        self.server = Secured(tls, self.authenticator, self.authorizer)
        self.own = x509.load_pem_x509_certificate(control_plane.front_proxy_authority.certificate.read_bytes())
        self.front_proxy = _issued(control_plane.front_proxy_authority, f"test-proxy-{next(_names)}", "front-proxy-client")

    def later(self, seconds: float) -> None:
        self.clock.advance_to(self.clock.now_s() + seconds)

    async def until_trusted(self, *authorities: Issued) -> None:
        """Until exactly these are request-header CAs, beside the cluster's own."""

        def extra(trust: Trust) -> set[x509.Certificate]:
            assert trust.front_proxies is not None
            return {*trust.front_proxies.authorities.certificates} - {self.own}

        await self.until_told(lambda trust: extra(trust) == {authority.certificate for authority in authorities})

    async def until_told(self, true: Callable[[Trust], bool]) -> None:
        async with asyncio.timeout(10.0):
            while not true(self.watch.current):
                self._told.clear()
                await self._told.wait()

    async def until(self, *headers: tuple[str, str], code: int, path: str, shown: Issued | None = None) -> Answer:
        """Asks until the answer is `code`, each time with nothing kept of the last: the API server has memories of its own."""
        async with asyncio.timeout(20.0):
            while True:
                answer = await self.server.ask(*headers, path=path, shown=shown)
                if answer.code == code:
                    return answer
                self.later(10.0)
                await asyncio.sleep(0.1)


def _issued(authority: Authority, file_name: str, user: str, groups: Sequence[str] = ()) -> Issued:
    pair = authority.client(file_name, user=user, groups=groups)
    key: Any = serialization.load_pem_private_key(pair.key.read_bytes(), None)
    return Issued(certificate=x509.load_pem_x509_certificate(pair.certificate.read_bytes()), key=key)


def _binding(name: str, role: str, subject: dict[str, str], kind: str = "ClusterRole") -> dict[str, Any]:
    return {
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
        "subjects": [subject],
    }


@pytest_asyncio.fixture(loop_scope="session")
async def bed(control_plane: ControlPlane, namespace: str) -> AsyncIterator[Bed]:
    admin = control_plane.api
    await admin.create(f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": "external-metrics"}})
    who = {"kind": "ServiceAccount", "name": "external-metrics", "namespace": namespace}
    delegator = await admin.create(
        f"{RBAC}/clusterrolebindings", _binding(f"{namespace}-delegator", "system:auth-delegator", who)
    )
    readers = f"{RBAC}/namespaces/{words.NAMESPACE}/rolebindings"
    reader = await admin.create(readers, _binding(f"{namespace}-reader", words.NAME + "-reader", who, "Role"))
    kubeconfig = await control_plane.service_account_kubeconfig(namespace, "external-metrics")
    credentials = await from_kubeconfig(str(kubeconfig), None, time.monotonic)
    async with HttpKubeApi(credentials) as api:
        made = Bed(control_plane, api)
        watching = asyncio.create_task(made.watch.run())
        try:
            async with asyncio.timeout(20.0):
                await made.watch.has_synced.wait()
            async with made.server:
                yield made
        finally:
            watching.cancel()
            await made.authenticator.close()
            await made.authorizer.close()
    await admin.delete(f"{RBAC}/clusterrolebindings/{delegator['metadata']['name']}")
    await admin.delete(f"{readers}/{reader['metadata']['name']}")


async def _allow(control_plane: ControlPlane, namespace: str, user: str) -> None:
    """Lets `user` read desired-replicas in this namespace."""
    rules = [{"apiGroups": ["external.metrics.k8s.io"], "resources": ["desired-replicas"], "verbs": ["list"]}]
    path = f"{RBAC}/namespaces/{namespace}"
    await control_plane.api.create(f"{path}/roles", {"metadata": {"name": "metrics"}, "rules": rules})
    subject = {"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}
    await control_plane.api.create(f"{path}/rolebindings", _binding("metrics", "metrics", subject, "Role"))
    await control_plane.until_allowed(
        user, verb="list", group="external.metrics.k8s.io", resource="desired-replicas", namespace=namespace
    )


async def test_the_trust_is_read_from_the_real_cluster(bed: Bed) -> None:
    assert bed.watch.why_not() == ""
    trust = bed.watch.current
    assert trust.front_proxies is not None
    assert trust.front_proxies.names == {"front-proxy-client"}
    assert trust.front_proxies.user_headers == ("x-remote-user",)
    assert trust.front_proxies.group_headers == ("x-remote-group",)
    assert trust.front_proxies.extra_prefixes == ("x-remote-extra-",)
    assert not trust.faults


async def test_tokens(bed: Bed, namespace: str) -> None:
    control_plane = bed.control_plane
    accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    await control_plane.api.create(accounts, {"metadata": {"name": "reader"}})
    name = f"system:serviceaccount:{namespace}:reader"
    await _allow(control_plane, namespace, name)
    path = f"/{namespace}/desired-replicas"

    good = await control_plane.service_account_token(namespace, "reader")
    user = (await bed.server.ask(("Authorization", f"Bearer {good}"), path=path)).user
    assert (user["name"], user["method"]) == (name, "token")
    assert "system:authenticated" in user["groups"]
    assert dict(user["extra"])["authentication.kubernetes.io/credential-id"]

    request = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": 600, "audiences": ["another.example.test"]},
    }
    elsewhere = (await control_plane.api.create(f"{accounts}/reader/token", request))["status"]["token"]
    for token in (elsewhere, "garbage", good[:-6] + "AAAAAA"):
        answer = await bed.server.ask(("Authorization", f"Bearer {token}"), path=path)
        assert answer.code == 401
        assert answer.message.startswith("Unauthorized: the bearer token was not accepted. Ask through")

    # Revoked: with its service account, or with the object that it is bound to. The API server itself has a memory of 10 s.
    secrets = f"/api/v1/namespaces/{namespace}/secrets"
    secret = await control_plane.api.create(secrets, {"metadata": {"name": "bound"}})
    await control_plane.api.create(accounts, {"metadata": {"name": "other"}})
    ref = {"kind": "Secret", "apiVersion": "v1", "name": "bound", "uid": secret["metadata"]["uid"]}
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"boundObjectRef": ref}}
    bound = (await control_plane.api.create(f"{accounts}/other/token", request))["status"]["token"]
    assert (await bed.server.ask(("Authorization", f"Bearer {bound}"), path=path)).code == 403  # known, and without rights
    await control_plane.api.delete(f"{accounts}/reader")
    await control_plane.api.delete(f"{secrets}/bound")
    assert (await bed.server.ask(("Authorization", f"Bearer {good}"), path=path)).code == 200  # up to 10 s
    bed.later(10.0)
    for token in (good, bound):
        answer = await bed.until(("Authorization", f"Bearer {token}"), code=401, path=path)
        assert "the bearer token was not accepted" in answer.message


async def test_rights(bed: Bed, namespace: str) -> None:
    control_plane = bed.control_plane
    user = f"bob-{namespace}"
    headers = [("X-Remote-User", user), ("X-Remote-Group", "system:authenticated")]
    path = f"/{namespace}/desired-replicas"

    answer = await bed.server.ask(*headers, path=path, shown=bed.front_proxy)
    assert answer.code == 403
    assert answer.document["reason"] == "Forbidden"
    assert f'User "{user}" cannot list resource "desired-replicas"' in answer.message
    assert f'in the namespace "{namespace}"' in answer.message

    await _allow(control_plane, namespace, user)
    assert (await bed.server.ask(*headers, path=path, shown=bed.front_proxy)).code == 403  # up to 10 s
    bed.later(10.0)
    assert (await bed.server.ask(*headers, path=path, shown=bed.front_proxy)).code == 200
    for elsewhere in ("/default/desired-replicas", f"/{namespace}/queue"):
        assert (await bed.server.ask(*headers, path=elsewhere, shown=bed.front_proxy)).code == 403

    # The same user by a certificate of the cluster's client CA; and others are not him.
    shown = _issued(control_plane.authority, f"client-{next(_names)}", user)
    assert (await bed.server.ask(path=path, shown=shown)).code == 200
    eve = _issued(control_plane.authority, f"client-{next(_names)}", "eve")
    answer = await bed.server.ask(*headers, ("X-Remote-Group", "system:masters"), path=path, shown=eve)
    assert answer.code == 403
    assert 'User "eve" cannot list' in answer.message
    root_ = _issued(control_plane.authority, f"client-{next(_names)}", "root", ["system:masters"])
    assert (await bed.server.ask(path=path, shown=root_)).code == 200

    await control_plane.api.delete(f"{RBAC}/namespaces/{namespace}/rolebindings/metrics")
    await _until_denied(control_plane, namespace, user)
    bed.later(10.0)
    assert (await bed.server.ask(*headers, path=path, shown=bed.front_proxy)).code == 403


async def _until_denied(control_plane: ControlPlane, namespace: str, user: str) -> None:
    attributes = {"verb": "list", "group": "external.metrics.k8s.io", "resource": "desired-replicas", "namespace": namespace}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": user, "resourceAttributes": attributes},
    }
    async with asyncio.timeout(10.0):
        while True:
            answer = await control_plane.api.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
            if not answer["status"]["allowed"]:
                return
            await asyncio.sleep(0.02)


async def test_a_ca_is_exchanged_under_load(bed: Bed) -> None:
    """kube-apiserver joins its own CAs to those that it finds in the ConfigMap, so that others can be put beside them and taken out."""
    api = bed.control_plane.api
    own = (await api.get(CONFIG_MAP))["data"]
    first, second = root("extra-front-proxy-ca-1"), root("extra-front-proxy-ca-2")
    masters = [("X-Remote-User", "root"), ("X-Remote-Group", "system:masters")]

    async def say(*extra: Issued) -> None:
        together = "".join([own[words.PROXY_CA], *(each.text for each in extra)])
        await api.patch(CONFIG_MAP, {"data": {words.PROXY_CA: together}})
        await bed.until_trusted(*extra)

    async def keep_asking(session: aiohttp.ClientSession, stop: asyncio.Event) -> set[int]:
        codes = set()
        while not stop.is_set():
            codes.add((await ask(session, *masters)).code)
        return codes

    stop = asyncio.Event()
    sessions = [bed.server.session(bed.front_proxy) for _ in range(8)]
    load = [asyncio.create_task(keep_asking(session, stop)) for session in sessions]
    shown = [authority.issue("front-proxy-client") for authority in (first, second)]
    try:
        assert (await bed.server.ask(*masters, shown=shown[0])).code == 0
        await say(first)
        async with bed.server.session(shown[0]) as old, bed.server.session(shown[1]) as new:
            assert (await ask(old, *masters)).user["name"] == "root"
            await say(first, second)
            assert (await ask(new, *masters)).user["name"] == "root"
            assert (await ask(old, *masters)).user["name"] == "root"
            await say(second)
            refused = await ask(old, *masters)  # on the connection that is open
            assert refused.code == 401
            assert "of no CA that is trusted now" in refused.message
            assert (await ask(new, *masters)).user["name"] == "root"
            assert (await bed.server.ask(*masters, shown=shown[0])).code == 401
            await say()
            assert (await ask(new, *masters)).code == 401
    finally:
        stop.set()
        await api.patch(CONFIG_MAP, {"data": own})
        codes = await asyncio.gather(*load)
        await asyncio.gather(*(session.close() for session in sessions))
    assert codes == [{200}] * len(load)


async def test_names_and_headers_that_are_put_beside_the_cluster_s_own(bed: Bed) -> None:
    api = bed.control_plane.api
    own = (await api.get(CONFIG_MAP))["data"]
    other = _issued(bed.control_plane.front_proxy_authority, f"test-proxy-{next(_names)}", "other-proxy")
    masters = [("X-Remote-User", "root"), ("X-Remote-Group", "system:masters")]
    refused = await bed.server.ask(*masters, shown=other)
    assert refused.code == 401
    assert "'other-proxy' is no name that may speak for others" in refused.message
    try:
        await api.patch(CONFIG_MAP, {"data": {words.NAMES: json.dumps(["front-proxy-client", "other-proxy"])}})
        await bed.until_told(lambda trust: trust.front_proxies is not None and "other-proxy" in trust.front_proxies.names)
        assert (await bed.server.ask(*masters, shown=other)).code == 200
        await api.patch(CONFIG_MAP, {"data": {words.NAMES: "other-proxy, front-proxy-client"}})  # no JSON
        await bed.until_told(lambda trust: words.NAMES in trust.faults)
        assert (await bed.server.ask(*masters, shown=other)).code == 200
    finally:
        await api.patch(CONFIG_MAP, {"data": own})


async def test_rights_of_our_own_that_are_missing_are_said_to_be_missing(bed: Bed, namespace: str) -> None:
    api = bed.control_plane.api
    await api.delete(f"{RBAC}/clusterrolebindings/{namespace}-delegator")
    try:
        headers = [("X-Remote-User", "bob")]
        async with asyncio.timeout(10.0):
            while True:  # until the API server has heard of it
                answer = await bed.server.ask(*headers, path=f"/{namespace}/desired-replicas", shown=bed.front_proxy)
                if "the review of its rights failed" in answer.message:
                    break
                bed.later(10.0)
                await asyncio.sleep(0.02)
        assert "this server may not create reviews; it needs the ClusterRole system:auth-delegator" in answer.message
    finally:
        who = {"kind": "ServiceAccount", "name": "external-metrics", "namespace": namespace}
        await api.create(f"{RBAC}/clusterrolebindings", _binding(f"{namespace}-delegator", "system:auth-delegator", who))
