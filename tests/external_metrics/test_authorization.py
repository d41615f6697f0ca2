"""Who may, by what the API server's reviews say."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import numpy as np
import pytest
import pytest_asyncio

from autoscaler.adapters.kubernetes.api import HttpKubeApi
from autoscaler.adapters.kubernetes.credentials import Credentials
from autoscaler.clock import ManualClock
from autoscaler.external_metrics import reviews
from autoscaler.external_metrics.answers import RefusedError
from autoscaler.external_metrics.authorization import ReviewedAuthorizer, access_spec
from autoscaler.external_metrics.identity import Access, MetricAccess, PathAccess, User
from tests.fakes.kube_api import FakeKubeApi, Fault

BOB = User(name="bob", groups=("team", "system:authenticated"), uid="7", extra=(("scopes", ("a", "b")),), method="front-proxy")
METRIC = MetricAccess(namespace="team", metric="desired-replicas")
DISCOVERY = [
    PathAccess(path=path)
    for path in (
        "/apis",
        "/apis/external.metrics.k8s.io",
        "/apis/external.metrics.k8s.io/v1beta1",
        "/openapi/v2",
        "/openapi/v3",
        "/openapi/v3/apis/external.metrics.k8s.io/v1beta1",
    )
]


class Bed:
    """An authorizer, its clock, and the API server that reviews for it."""

    def __init__(self, fake: FakeKubeApi, api: HttpKubeApi) -> None:
        self.fake = fake
        self.api = api
        self.clock = ManualClock(time.time())
        self.authorizer = ReviewedAuthorizer(api, clock=self.clock, rng=np.random.default_rng(1))

    def reviews(self, **status: object) -> Fault:
        self.fake.faults.clear()
        return self.fake.fail("POST", "/subjectaccessreviews", times=float("inf"), document={"status": status})

    @property
    def asked(self) -> int:
        return sum(request.method == "POST" for request in self.fake.requests)

    async def refusal(self, user: User, access: Access) -> RefusedError:
        with pytest.raises(RefusedError) as caught:
            await self.authorizer.authorize(user, access)
        return caught.value


@pytest_asyncio.fixture(loop_scope="session")
async def bed() -> AsyncIterator[Bed]:
    async with FakeKubeApi() as fake, HttpKubeApi(Credentials(fake.url, monotonic_s=time.monotonic)) as api:
        made = Bed(fake, api)
        yield made
        await made.authorizer.close()


def test_what_is_asked() -> None:
    assert access_spec(BOB, METRIC) == {
        "user": "bob",
        "groups": ["team", "system:authenticated"],
        "uid": "7",
        "extra": {"scopes": ["a", "b"]},
        "resourceAttributes": {
            "verb": "list",
            "group": "external.metrics.k8s.io",
            "version": "v1beta1",
            "resource": "desired-replicas",
            "namespace": "team",
        },
    }
    assert access_spec(User(name="bob"), PathAccess(path="/metrics")) == {
        "user": "bob",
        "groups": [],
        "nonResourceAttributes": {"path": "/metrics", "verb": "get"},
    }


async def test_who_may_may(bed: Bed) -> None:
    bed.reviews(allowed=True, reason="RBAC: allowed by ClusterRoleBinding")
    await bed.authorizer.authorize(BOB, METRIC)
    assert bed.fake.requests[0].body["kind"] == "SubjectAccessReview"
    assert bed.fake.requests[0].body["apiVersion"] == "authorization.k8s.io/v1"


async def test_who_may_not_is_told_what_and_why(bed: Bed) -> None:
    bed.reviews(allowed=False)
    refused = await bed.refusal(BOB, METRIC)
    assert refused.code == 403
    assert refused.message == (
        'desired-replicas.external.metrics.k8s.io is forbidden: User "bob" cannot list resource "desired-replicas" in API group '
        '"external.metrics.k8s.io" in the namespace "team"'
    )
    bed.reviews(allowed=False, reason="RBAC: role.rbac.authorization.k8s.io not found")
    refused = await bed.refusal(BOB, PathAccess(path="/metrics"))
    assert refused.message == ('forbidden: User "bob" cannot get path "/metrics": RBAC: role.rbac.authorization.k8s.io not found')


@pytest.mark.parametrize("status", [{}, {"allowed": "true"}, {"allowed": True, "denied": True}, {"allowed": None}])
async def test_an_answer_that_is_not_plainly_yes_is_no(bed: Bed, status: dict[str, object]) -> None:
    bed.reviews(**status)
    assert (await bed.refusal(BOB, METRIC)).code == 403


async def test_masters_are_not_reviewed(bed: Bed) -> None:
    await bed.authorizer.authorize(User(name="root", groups=("system:masters",)), METRIC)
    assert bed.asked == 0


async def test_the_aggregator_reads_discovery_while_nothing_else_works(bed: Bed) -> None:
    bed.fake.fail("POST", "/subjectaccessreviews", times=float("inf"), status=403)
    for name in ("system:kube-aggregator", "system:aggregator"):
        for access in DISCOVERY:
            await bed.authorizer.authorize(User(name=name, method="front-proxy"), access)
    assert bed.asked == 0


async def test_by_the_aggregator_s_name_alone_nobody_is_it(bed: Bed) -> None:
    bed.reviews(allowed=False)
    for access in DISCOVERY:
        for user in (
            User(name="system:kube-aggregator", method="certificate"),
            User(name="system:aggregator", method="token"),
            User(name="system:kube-aggregator"),
            User(name="system:kube-aggregators", method="front-proxy"),
        ):
            assert (await bed.refusal(user, access)).code == 403


@pytest.mark.parametrize(
    "access",
    [
        METRIC,
        PathAccess(path="/metrics"),
        PathAccess(path="/apis/"),
        PathAccess(path="/apis/apps"),
        PathAccess(path="/apis/external.metrics.k8s.io/v1beta1/namespaces"),
        PathAccess(path="/openapi/v3.json"),
    ],
)
async def test_the_aggregator_has_no_other_rights_of_its_own(bed: Bed, access: Access) -> None:
    bed.reviews(allowed=False)
    assert (await bed.refusal(User(name="system:kube-aggregator", method="front-proxy"), access)).code == 403


async def test_a_verdict_is_of_one_user_in_one_way_for_one_thing(bed: Bed) -> None:
    bed.reviews(allowed=True)
    await bed.authorizer.authorize(BOB, METRIC)
    bed.reviews(allowed=False)
    await bed.authorizer.authorize(BOB, METRIC)
    for user, access in (
        (replace(BOB, name="eve"), METRIC),
        (replace(BOB, groups=("system:authenticated",)), METRIC),
        (replace(BOB, uid="8"), METRIC),
        (replace(BOB, extra=()), METRIC),
        (BOB, MetricAccess(namespace="other", metric="desired-replicas")),
        (BOB, MetricAccess(namespace="team", metric="queue")),
        (BOB, PathAccess(path="/metrics")),
    ):
        assert (await bed.refusal(user, access)).code == 403


async def test_rights_that_are_given_or_taken_count_within_ten_seconds(bed: Bed) -> None:
    bed.reviews(allowed=True)
    await bed.authorizer.authorize(BOB, METRIC)
    bed.reviews(allowed=False)
    bed.clock.advance_to(bed.clock.now_s() + 10.0)
    await bed.refusal(BOB, METRIC)
    bed.reviews(allowed=True)
    bed.clock.advance_to(bed.clock.now_s() + 9.9)
    await bed.refusal(BOB, METRIC)
    assert bed.asked == 2  # a denial is not renewed behind the scenes
    bed.clock.advance_to(bed.clock.now_s() + 0.1)
    await bed.authorizer.authorize(BOB, METRIC)


async def test_a_review_that_fails_is_said_to_have_failed_and_makes_no_storm(bed: Bed) -> None:
    bed.fake.fail("POST", "/subjectaccessreviews", times=float("inf"), status=403)
    for _ in range(20):
        refused = await bed.refusal(BOB, METRIC)
        assert refused.code == 403
        assert "the review of its rights failed: this server may not create reviews" in refused.message
        assert "system:auth-delegator" in refused.message
    assert bed.asked == 1
    bed.reviews(allowed=True)
    bed.clock.advance_to(bed.clock.now_s() + 2.0)
    await bed.authorizer.authorize(BOB, METRIC)


async def test_an_api_server_that_does_not_answer(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reviews, "DEADLINE_S", 0.3)
    bed.fake.fail("POST", "/subjectaccessreviews", times=float("inf"), hang=True)
    began_s = time.monotonic()
    refused = await asyncio.gather(*(bed.refusal(BOB, METRIC) for _ in range(20)))
    assert time.monotonic() - began_s < 5.0
    assert {each.code for each in refused} == {403}
    assert "the review of its rights failed: the API server did not answer within 0.3 s" in refused[0].message
    assert bed.asked == 1


async def test_so_many_reviews_at_once_and_no_more(bed: Bed) -> None:
    bed.fake.fail("POST", "/subjectaccessreviews", times=float("inf"), hang=True)
    waiting = [asyncio.create_task(bed.authorizer.authorize(replace(BOB, name=str(number)), METRIC)) for number in range(100)]
    async with asyncio.timeout(5.0):
        while bed.asked < reviews.AT_ONCE:
            await bed.api.request("GET", "/api/v1", timeout_s=5.0)  # other requests get through meanwhile
        for _ in range(3):
            await bed.api.request("GET", "/api/v1", timeout_s=5.0)
    assert bed.asked == reviews.AT_ONCE
    for task in waiting:
        task.cancel()


@pytest.mark.parametrize("access", [PathAccess(path="/" + "x" * 2000), MetricAccess(namespace="team", metric="x" * 2000)])
async def test_names_longer_than_any_are_neither_reviewed_nor_kept(bed: Bed, access: Access) -> None:
    bed.reviews(allowed=True)
    refused = await bed.refusal(BOB, access)
    assert refused.code == 403
    assert len(refused.message) < 200
    assert bed.asked == 0


async def test_what_is_counted(bed: Bed) -> None:
    bed.reviews(allowed=True)
    for _ in range(3):
        await bed.authorizer.authorize(BOB, METRIC)
    bed.reviews(allowed=False)
    await bed.refusal(replace(BOB, name="eve"), METRIC)
    found, spared = bed.authorizer.families()
    assert found.samples == {(("outcome", "allowed"),): 1.0, (("outcome", "denied"),): 1.0}
    assert spared.samples == {(): 2.0}
